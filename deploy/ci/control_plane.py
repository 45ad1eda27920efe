"""An API server of its own, with etcd, on loopback: where the chart and its policies meet the real thing."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import chart

ADMIN = "admin-of-this-test"


def programs():
    """The folder with etcd and kube-apiserver: KUBEBUILDER_ASSETS, or what tests/control-plane/build has made; None without either."""
    if folder := os.environ.get("KUBEBUILDER_ASSETS"):
        return pathlib.Path(folder)
    build = chart.ROOT / "tests" / "control-plane" / "build"
    if build.exists():
        found = subprocess.run([build, "--find"], capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip():
            return pathlib.Path(found.stdout.strip())
    return None


class ControlPlane:
    """Starts both; stops them and removes all that they have written."""

    def __init__(self, folder):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="retile-deploy-"))
        self.running = []
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        try:
            self.start(folder)
        except BaseException:
            self.stop()
            raise

    def start(self, folder):
        etcd, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.spawn(
            [folder / "etcd", "--name=test", "--unsafe-no-fsync", "--log-level=error", f"--data-dir={self.folder}/etcd"]
            + [f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peers}"]
            + [f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=test={peers}"],
        )
        key = self.folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f'{ADMIN},admin,admin,"system:masters"\n')
        self.spawn(
            [folder / "kube-apiserver", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={self.port}"]
            + [f"--cert-dir={self.folder}/certificates", f"--token-auth-file={tokens}", "--authorization-mode=Node,RBAC"]
            + [f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"]
            + ["--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.0.0.0/24"]
            # Nothing here makes the accounts that pods would need.
            + ["--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none", "--profiling=false"],
        )
        self.wait(lambda: self.call("GET", "/readyz")[0] == 200, "the API server to be ready", 120)

    def spawn(self, command):
        with open(self.folder / f"{pathlib.Path(command[0]).name}.log", "w") as log:
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def stop(self):
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self, condition, what, seconds):
        """Asks again and again; gives up where a process has ended, or after a long time."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            for process in self.running:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args[0]} has ended: {self.logs()}")
            if time.monotonic() > end:
                raise RuntimeError(f"waited {seconds} s for {what}: {self.logs()}")
            time.sleep(0.2)

    def logs(self):
        return "".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def call(self, method, path, body=None, token=ADMIN, patch="application/merge-patch+json"):
        """Status code and answer of one request."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = patch if method == "PATCH" else "application/json"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        # The certificate was made by the server itself a moment ago.
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                return answer.status, parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, parsed(error.read())

    def apply(self, document, dry_run=False):
        """Server-side apply, strict."""
        path = f"{self.path(document)}?fieldManager=deploy-test&force=true&fieldValidation=Strict"
        path += "&dryRun=All" if dry_run else ""
        return self.call("PATCH", path, document, patch="application/apply-patch+yaml")

    def path(self, document):
        """Where an object lies; the API server says how its kind is spelled there."""
        version, meta = document["apiVersion"], document["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        code, served = self.call("GET", root)
        found = [r for r in served.get("resources", []) if r["kind"] == document["kind"] and "/" not in r["name"]]
        if code != 200 or not found:
            raise LookupError(f"the API server does not serve {version} {document['kind']}")
        namespace = f"/namespaces/{meta['namespace']}" if found[0]["namespaced"] else ""
        return f"{root}{namespace}/{found[0]['name']}/{meta['name']}"

    def kubeconfig(self):
        """A kubeconfig of the administrator, as text."""
        return json.dumps({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": ADMIN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        })


def parsed(data):
    try:
        return json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace")}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

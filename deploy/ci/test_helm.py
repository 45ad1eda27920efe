"""The pages' own commands with the real `helm`, on a real API server: what a person meets from the first install to what is left at the end."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import yaml

import chart
import control_plane

HELM = os.environ.get("HELM")
RETILE = "/apis/retile.dev/v1alpha1"
POLICY = f"{RETILE}/migpolicies/default"
GUARD = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/retile-controller-node"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
IMAGE = ("--set", "image.repository=registry.example/retile")

server = None
folder = None


def setUpModule():
    global server, folder
    programs = control_plane.programs()
    if not HELM or programs is None:
        raise unittest.SkipTest("there is no helm (it is built with Go), or no API server (tests/control-plane/build)")
    kept = tempfile.TemporaryDirectory(prefix="retile-helm-")
    unittest.addModuleCleanup(kept.cleanup)
    folder = pathlib.Path(kept.name)
    server = control_plane.ControlPlane(programs)
    unittest.addModuleCleanup(server.stop)
    (folder / "kubeconfig").write_text(server.kubeconfig())
    for name in (chart.NAMESPACE, "gpu-operator"):
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})


def helm(*arguments, fails=False):
    """What one command of a person says."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(folder / "kubeconfig")}
    done = subprocess.run([HELM, *arguments, "-n", chart.NAMESPACE], capture_output=True, text=True, env=environment)
    said = done.stdout + done.stderr
    if (done.returncode != 0) != fails:
        raise AssertionError(f"helm {' '.join(map(str, arguments))}: {said}")
    return said


def found(path):
    code, body = server.call("GET", path)
    return body if code == 200 else None


def mode():
    return found(POLICY)["spec"]["mode"]


def may_pause():
    return "pausing" in [variable["name"] for variable in found(GUARD)["spec"]["variables"]]


class Person(unittest.TestCase):
    """Each test is one release, from install to uninstall."""

    def setUp(self):
        self.addCleanup(self.clear)

    def clear(self):
        """Whatever a test has left."""
        helm("uninstall", "retile", "--ignore-not-found")
        for crd in (chart.DEPLOY / "crds").glob("*.yaml"):
            path = f"{CRDS}/{yaml.safe_load(crd.read_text())['metadata']['name']}"
            server.call("DELETE", path)
            server.wait(lambda path=path: found(path) is None, f"{path} to be gone", 60)

    def crds_first(self):
        """As `kubectl apply --server-side -f deploy/crds` does."""
        for crd in sorted((chart.DEPLOY / "crds").glob("*.yaml")):
            code, answer = server.apply(yaml.safe_load(crd.read_text()))
            self.assertIn(code, (200, 201), answer)
        self.served()

    def served(self):
        for plural in ("mignodes", "migpolicies", "migplans"):
            server.wait(lambda plural=plural: found(f"{RETILE}/{plural}") is not None, f"{plural} to be served", 60)

    def test_lint_and_template(self):
        self.assertIn("0 chart(s) failed", helm("lint", str(chart.CHART), "--strict"))
        rendered = folder / "rendered"
        helm("template", "retile", str(chart.CHART), "--output-dir", str(rendered))
        documents = [d for path in rendered.rglob("*.yaml") for d in yaml.safe_load_all(path.read_text()) if d]
        self.assertEqual(
            {chart.identity(document) for document in documents},
            {chart.identity(document) for document in chart.objects({})},
        )

    def test_the_readme_then_act_then_back_then_gone(self):
        self.crds_first()
        said = helm("install", "retile", str(chart.CHART), *IMAGE, "--set", "crds.install=false")
        self.assertIn("profile `observe`", said)
        self.assertEqual((mode(), found(GUARD)), ("Observe", None))
        upgrade = ("upgrade", "retile", str(chart.CHART), "--reset-then-reuse-values")
        helm(*upgrade, "--set", "profile=reshape", "--set", "policy.spec.mode=Act")
        self.assertEqual((mode(), may_pause()), ("Act", False))
        pause = ("--set", "policy.spec.clients=operator-pause")
        self.assertIn("controller.pauseClients", helm(*upgrade, *pause, fails=True))
        helm(*upgrade, *pause, "--set", "controller.pauseClients=true")
        self.assertEqual((found(POLICY)["spec"]["clients"], may_pause()), ("operator-pause", True))
        helm("rollback", "retile", "2")
        self.assertEqual((found(POLICY)["spec"]["clients"], may_pause()), ("restart", False))
        helm("rollback", "retile", "1")
        self.assertEqual((mode(), found(GUARD)), ("Observe", None))
        helm("uninstall", "retile")
        self.assertEqual(self.left(), [])
        self.assertIsNotNone(found(f"{RETILE}/mignodes"), "the custom resources are not the release's")

    def test_the_chart_brings_and_changes_the_custom_resources(self):
        said = helm("install", "retile", str(chart.CHART), *IMAGE)
        self.assertIn("The next `helm upgrade` with the same values creates MigPolicy/default", said)
        self.served()
        self.assertIsNone(found(POLICY))
        helm("upgrade", "retile", str(chart.CHART), "--reset-then-reuse-values")
        self.assertEqual(mode(), "Observe")
        newer = self.newer_chart()
        helm("upgrade", "retile", str(newer), "--reset-then-reuse-values")
        field = lambda: self.policy_fields().get("novelty")  # noqa: E731
        self.assertEqual(field(), {"type": "string"})
        self.assertEqual(mode(), "Observe")
        helm("rollback", "retile")
        self.assertIsNone(field())
        self.assertIn("kept due to the resource policy", helm("uninstall", "retile"))
        self.assertEqual(self.left(), [])
        self.assertIsNotNone(found(f"{RETILE}/mignodes"), "the custom resources stay")
        # And they are taken up again.
        helm("install", "retile", str(chart.CHART), *IMAGE)
        self.assertEqual(mode(), "Observe")

    def test_a_policy_has_one_writer(self):
        if "v4" not in helm("version", "--short"):
            self.skipTest("Helm 3 does not apply on the server, and sees no conflict")
        self.crds_first()
        helm("install", "retile", str(chart.CHART), *IMAGE, "--set", "crds.install=false")
        self.patch({"mode": "Recommend", "paused": True})
        upgrade = ("upgrade", "retile", str(chart.CHART), "--reset-then-reuse-values")
        act = ("--set", "profile=reshape", "--set", "policy.spec.mode=Act")
        self.assertIn('conflict with "kubectl-patch"', helm(*upgrade, *act, fails=True))
        rights = found("/apis/rbac.authorization.k8s.io/v1/clusterroles/retile-controller-act")
        self.assertEqual((mode(), rights is not None), ("Recommend", True), "the policy comes last")
        helm(*upgrade, *act, "--force-conflicts")
        self.assertEqual((mode(), found(POLICY)["spec"]["paused"]), ("Act", True), "the chart says nothing of a pause")
        # Handed over.
        server.call("PATCH", POLICY, {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}})
        helm(*upgrade, "--set", "policy.create=false")
        self.patch({"mode": "Observe"})
        helm(*upgrade)
        self.assertEqual(mode(), "Observe")

    def patch(self, spec):
        """As `kubectl patch` does."""
        code, answer = server.call("PATCH", f"{POLICY}?fieldManager=kubectl-patch", {"spec": spec})
        self.assertEqual(code, 200, answer)

    def policy_fields(self):
        crd = found(f"{CRDS}/migpolicies.retile.dev")
        return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]

    def newer_chart(self):
        """A packaged chart with one more field in the policy."""
        helm("package", str(chart.CHART), "--destination", str(folder))
        unpacked = folder / "newer"
        shutil.rmtree(unpacked, ignore_errors=True)
        (archive,) = folder.glob("retile-*.tgz")
        shutil.unpack_archive(archive, unpacked, filter="data")
        path = unpacked / "retile" / "files" / "crds" / "migpolicies.yaml"
        crd = yaml.safe_load(path.read_text())
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["novelty"] = {"type": "string"}
        path.write_text(yaml.safe_dump(crd))
        return unpacked / "retile"

    def left(self):
        """Objects of a release that are still there, custom resources apart."""
        documents = chart.objects({**chart.MATRIX["pausing"], "crds": {"install": False}})
        return [chart.identity(document) for document in documents if found(server.path(document))]


if __name__ == "__main__":
    unittest.main()

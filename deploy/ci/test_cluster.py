"""The chart against a real API server: it takes every object, Helm installs, upgrades and removes the release, and the forbidden is denied."""

import contextlib
import os
import re
import unittest
import urllib.parse

import helm_python as helm

import chart
import control_plane

NAMESPACES = (chart.NAMESPACE, "retile-agents", "gpu-operator", "nvidia-device-plugin", "ml", "payments")
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
FULL = {**chart.MATRIX["full"], "admissionPolicies": {"protectedNamespaces": ["payments"]}}
CONTROLLER = "retile-controller"
AGENT = "retile-agent"
RETILE = "/apis/retile.dev/v1alpha1"
SCALE_DOWN = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
KARPENTER = "karpenter.sh/do-not-disrupt"
PROTECTION = "retile.dev/autoscaler-protection"
DEPLOY = "nvidia.com/gpu.deploy."
PAUSED = "paused-for-mig-change"
# NVIDIA's driver manager adds its own to what is paused already, and takes it off again.
TWICE = f"{PAUSED}_paused-for-driver-upgrade"
UPGRADE = "paused-for-driver-upgrade"
CLIENTS = "retile.dev/paused-clients"
TAINT = {"key": "retile.dev/repartitioning", "value": "op-1", "effect": "NoSchedule"}
THEIRS = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}

server = None
# What Helm's very first install found and left, step by step.
first = {}


def setUpModule():
    global server
    folder = control_plane.programs()
    if folder is None:
        if os.environ.get("RETILE_REQUIRE_CONTROL_PLANE") == "1":
            raise RuntimeError("there is no API server; run tests/control-plane/build, or set KUBEBUILDER_ASSETS")
        raise unittest.SkipTest("there is no API server; run tests/control-plane/build, or set KUBEBUILDER_ASSETS")
    server = control_plane.ControlPlane(folder)
    unittest.addModuleCleanup(server.stop)
    for name in NAMESPACES:
        made(server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}}))
    install_first()


def install_first():
    """Into a cluster that knows nothing of retile; the custom resources stay for the tests."""
    policy = f"{RETILE}/migpolicies/default"
    with release() as config:
        config.install(str(chart.CHART), "retile", {})
        for plural in ("mignodes", "migpolicies", "migplans"):
            server.wait(lambda: server.call("GET", f"{RETILE}/{plural}")[0] == 200, f"{plural} to be served", 60)
        first["installed"] = server.call("GET", policy)
    # As another command: Helm asks once for the kinds that there are.
    with release() as config:
        config.upgrade(str(chart.CHART), "retile", {})
        first["upgraded"] = server.call("GET", policy)
        config.uninstall("retile")
        first["uninstalled"] = server.call("GET", policy), server.call("GET", f"{RETILE}/mignodes")


@contextlib.contextmanager
def release():
    """Helm, with the server's own list of kinds."""
    with chart.quiet(), helm.Config(kubeconfig_content=server.kubeconfig(), namespace=chart.NAMESPACE) as config:
        yield config


def made(answer):
    code, body = answer
    if code not in (200, 201):
        raise AssertionError(f"{code}: {body.get('message', body)}")
    return body


class Objects(unittest.TestCase):
    def test_are_taken(self):
        for name, values in chart.MATRIX.items():
            for document in chart.objects(values):
                if document["kind"] in FOREIGN:
                    continue
                with self.subTest(case=name, object=chart.identity(document)):
                    try:
                        code, answer = server.apply(document, dry_run=True)
                    except LookupError as error:
                        if document["kind"].startswith("MutatingAdmissionPolicy"):
                            self.skipTest(str(error))
                        raise
                    self.assertIn(code, (200, 201), answer.get("message"))


class Release(unittest.TestCase):
    def test_the_first_install_brings_the_kinds_and_the_next_step_the_policy(self):
        self.assertEqual(first["installed"][0], 404)
        code, policy = first["upgraded"]
        self.assertEqual((code, policy["spec"]["mode"]), (200, "Observe"))
        policy, kinds = first["uninstalled"]
        self.assertEqual((policy[0], kinds[0]), (404, 200), "the policy goes, the custom resources stay")

    def test_the_events_that_the_notes_ask_for_can_be_asked_for(self):
        notes = chart.templates({})["retile/templates/NOTES.txt"]
        selector = re.search(r"--field-selector (\S+)", notes).group(1)
        made(server.call("GET", "/api/v1/events?fieldSelector=" + urllib.parse.quote(selector, safe="")))

    def test_install_upgrade_uninstall(self):
        with release() as config:
            values = {"crds": {"install": False}}
            config.install(str(chart.CHART), "retile", values)
            policy = made(server.call("GET", f"{RETILE}/migpolicies/default"))
            self.assertEqual(policy["spec"]["mode"], "Observe")
            self.assertEqual(server.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/retile-controller-act")[0], 404)
            config.upgrade(str(chart.CHART), "retile", {**FULL, "crds": {"install": False}})
            policy = made(server.call("GET", f"{RETILE}/migpolicies/default"))
            self.assertEqual(policy["spec"]["mode"], "Act")
            made(server.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/retile-controller-act"))
            config.uninstall("retile")
        self.assertEqual(server.call("GET", f"{RETILE}/mignodes")[0], 200, "custom resources stay")
        for path in (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/retile-controller",
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/retile-controller-node",
            f"/apis/apps/v1/namespaces/{chart.NAMESPACE}/deployments/retile-controller",
        ):
            self.assertEqual(server.call("GET", path)[0], 404, path)


class Tried(unittest.TestCase):
    """Real tokens of the two accounts try what they may and what they may not, with the chart installed with some values."""

    values = FULL
    nodes = ()

    @classmethod
    def setUpClass(cls):
        with release() as config:
            config.install(str(chart.CHART), "retile", cls.values)
        for name, labels in cls.nodes:
            made(server.call("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [THEIRS]}}))
        cls.controller = token(CONTROLLER)
        cls.prepare()
        # The API server reads new policies a moment later.
        for who, *request in cls.probes():
            server.wait(lambda: denied(server.call(*request, token=who)), f"a policy to deny {request[1]}", 60)

    @classmethod
    def tearDownClass(cls):
        for name, _ in cls.nodes:
            server.call("DELETE", f"/api/v1/nodes/{name}")
        with release() as config:
            config.uninstall("retile")

    @classmethod
    def prepare(cls):
        pass

    @classmethod
    def probes(cls):
        """Requests that are denied once the policies count."""
        probe = {"metadata": {"labels": {"probe": "x"}}}
        return [(cls.controller, "PATCH", f"/api/v1/nodes/{cls.nodes[0][0]}?dryRun=All", probe)]

    def may(self, who, method, path, body=None, **more):
        code, answer = server.call(method, path, body, token=who, **more)
        self.assertIn(code, (200, 201), answer.get("message"))
        return answer

    def may_not(self, who, words, method, path, body=None, **more):
        code, answer = server.call(method, path, body, token=who, **more)
        self.assertIn(code, (403, 422), answer)
        self.assertIn(words, answer["message"])


def labelled(record, **clients):
    """A write of labels of clients together with the record of those that are paused; `None` takes one off."""
    return {"metadata": {"labels": deployed(clients), "annotations": {CLIENTS: record}}}


def deployed(clients):
    return {DEPLOY + client.replace("_", "-"): value for client, value in clients.items()}


class LettingGoOn:
    """What the controller may do with a pause that is on record, whether or not it may pause: the switch may be taken away at any time."""

    def on(self, change, record=None, tainted=True, **clients):
        """What the controller is told when it changes a node that has these labels and this record."""
        path = "/api/v1/nodes/gpu"
        meta = {"name": "gpu", "labels": {"a": "b", **deployed(clients)}}
        meta["annotations"] = {} if record is None else {CLIENTS: record}
        made(server.call("POST", "/api/v1/nodes", {"metadata": meta, "spec": {"taints": [THEIRS, *([TAINT] if tainted else [])]}}))
        try:
            return server.call("PATCH", path, change, token=self.controller)
        finally:
            server.call("DELETE", path)

    def allowed(self, change, **node):
        with self.subTest(change=change, node=node):
            code, answer = self.on(change, **node)
            self.assertEqual(code, 200, answer.get("message"))

    def denied(self, words, change, **node):
        with self.subTest(change=change, node=node):
            code, answer = self.on(change, **node)
            self.assertEqual(code, 422, answer)
            self.assertIn(words, answer["message"])

    def test_what_is_on_record_is_let_go_on(self):
        both = labelled(None, device_plugin="true", dcgm="true")
        for tainted in (True, False):
            self.allowed(both, record="device-plugin,dcgm", device_plugin=PAUSED, dcgm=PAUSED, tainted=tainted)
        # One after the other; the record keeps the rest.
        self.allowed(labelled("dcgm", device_plugin="true"), record="device-plugin,dcgm", device_plugin=PAUSED, dcgm=TWICE)
        self.allowed(labelled("dcgm", device_plugin="true"), record="device-plugin,dcgm", device_plugin=PAUSED, dcgm=PAUSED)
        # What somebody else has set since, or taken away, is theirs.
        self.allowed(labelled(None, device_plugin="true"), record="device-plugin,dcgm", device_plugin=PAUSED, dcgm=UPGRADE)
        self.allowed(labelled(None), record="dcgm", dcgm="false")
        self.allowed(labelled(None), record="dcgm", dcgm="true")
        self.allowed(labelled(None), record="dcgm")
        self.allowed(labelled(None), record="")
        self.allowed(labelled(None), record="operator-validator", operator_validator=PAUSED)

    def test_a_record_may_stay_as_it_is(self):
        for value in (PAUSED, TWICE, UPGRADE, "true"):
            self.allowed({"metadata": {"annotations": {"retile.dev/note": "x"}}}, record="dcgm", dcgm=value)

    def test_what_is_not_on_record_is_not_let_go_on(self):
        self.denied("no label", labelled(None, dcgm="true"), dcgm=PAUSED)
        self.denied("no label", labelled(None, dcgm="true"), dcgm=PAUSED, record="")
        self.denied("no label", labelled("dcgm", dcgm="true"), dcgm=PAUSED)
        self.denied("no label", labelled("nvsm", dcgm="true"), dcgm=PAUSED, record="nvsm")
        self.denied("no label", labelled(None, operator_validator="true"), operator_validator=PAUSED, record="operator-validator")

    def test_nothing_is_put_on_record_that_others_have_paused(self):
        self.denied("no client on record", labelled("dcgm"), dcgm=PAUSED)
        self.denied("no client on record", labelled("nvsm,dcgm"), dcgm=PAUSED, nvsm=PAUSED, record="nvsm")
        self.denied("no client on record", labelled("dcgm"), dcgm="true")
        self.denied("no client on record", labelled("dcgm"))
        self.denied("no client on record", labelled("dcgm", nvsm="true"), dcgm=PAUSED, nvsm=PAUSED, record="nvsm")

    def test_who_is_let_go_on_leaves_the_record_and_nobody_else_does(self):
        self.denied("no label", labelled("dcgm", dcgm="true"), dcgm=PAUSED, record="dcgm")
        for value in (PAUSED, TWICE):
            self.denied("off the record", labelled(None), dcgm=value, record="dcgm")
            self.denied("off the record", labelled("", device_plugin="true"), dcgm=value, device_plugin=PAUSED, record="dcgm,device-plugin")

    def test_what_is_paused_becomes_nothing_but_true(self):
        for value in ("false", UPGRADE, None):
            self.denied("no label", labelled(None, dcgm=value), dcgm=PAUSED, record="dcgm")
        # Others are at work there.
        for value in (PAUSED, "true", UPGRADE):
            self.denied("no label", labelled(None, dcgm=value), dcgm=TWICE, record="dcgm")
        self.denied("no label", labelled(None, dcgm="true"), dcgm=UPGRADE, record="dcgm")

    def test_a_record_is_never_added_to(self):
        self.denied("no label", labelled("dcgm,nvsm", nvsm=PAUSED), dcgm=PAUSED, nvsm="true", record="dcgm")
        self.denied("no label", labelled("nvsm", dcgm="true", nvsm=PAUSED), dcgm=PAUSED, nvsm="true", record="dcgm")
        self.denied("no label", labelled("dcgm", dcgm=PAUSED), dcgm="true", record="dcgm")


class Forbidden(LettingGoOn, Tried):
    nodes = (("n1", {"a": "b"}), ("n2", {"a": "b", f"{DEPLOY}dcgm": "true"}))

    @classmethod
    def prepare(cls):
        make_pod(chart.NAMESPACE, "agent-n1", account=AGENT, node="n1")
        cls.agent = token(AGENT, pod="agent-n1")
        cls.unbound = token(AGENT)

    @classmethod
    def probes(cls):
        eviction = ("POST", "/api/v1/namespaces/kube-system/pods/none/eviction?dryRun=All", evict("none", "kube-system", "u"))
        return [
            *super().probes(),
            (cls.agent, "POST", f"{RETILE}/mignodes?dryRun=All", record("n2")),
            (cls.controller, "POST", f"{RETILE}/migplans?dryRun=All", plan(approval={"approved": True})),
            (cls.controller, *eviction),
        ]

    # Agents.

    def test_an_agent_reports_its_own_node(self):
        self.may(self.agent, "POST", f"{RETILE}/mignodes", record("n1"))
        self.addCleanup(server.call, "DELETE", f"{RETILE}/mignodes/n1")
        self.may(self.agent, "PATCH", f"{RETILE}/mignodes/n1/status", {"status": {"nodeUid": "u"}})
        self.may_not(self.agent, "cannot patch", "PATCH", f"{RETILE}/mignodes/n1", {"spec": {}})
        self.may_not(self.agent, "cannot delete", "DELETE", f"{RETILE}/mignodes/n1")

    def test_an_agent_reports_no_other_node(self):
        self.may_not(self.agent, "own node only", "POST", f"{RETILE}/mignodes", record("n2"))
        made(server.call("POST", f"{RETILE}/mignodes", record("n2")))
        self.addCleanup(server.call, "DELETE", f"{RETILE}/mignodes/n2")
        self.may_not(self.agent, "own node only", "PATCH", f"{RETILE}/mignodes/n2/status", {"status": {"nodeUid": "u"}})

    def test_an_agent_does_not_say_what_is_wanted(self):
        wanted = {**record("n1"), "spec": {"history": [ENDED]}}
        self.may_not(self.agent, "the controller's to say", "POST", f"{RETILE}/mignodes", wanted)

    def test_a_token_that_names_no_node_reports_nothing(self):
        self.may_not(self.unbound, "names no node", "POST", f"{RETILE}/mignodes", record("n1"))

    def test_an_agent_touches_nothing_else(self):
        made_pod = make_pod("ml", "bystander")
        self.may(self.agent, "GET", "/api/v1/nodes/n1")
        self.may(self.agent, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
        for method, path, body in (
            ("PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": {"x": "y"}}}),
            ("PATCH", "/api/v1/nodes/n1/status", {"status": {}}),
            ("POST", "/api/v1/namespaces/ml/pods/bystander/eviction", evict("bystander", "ml", made_pod["metadata"]["uid"])),
            ("DELETE", "/api/v1/namespaces/ml/pods/bystander", None),
            ("GET", "/api/v1/secrets", None),
            ("GET", "/api/v1/namespaces/kube-system/configmaps", None),
            ("GET", f"{RETILE}/migplans", None),
            ("POST", f"/api/v1/namespaces/{chart.NAMESPACE}/serviceaccounts/{CONTROLLER}/token", {}),
            ("POST", "/apis/events.k8s.io/v1/namespaces/default/events", {}),
        ):
            with self.subTest(path=path):
                self.may_not(self.agent, "cannot", method, path, body)

    # The controller, on nodes.

    def test_the_controller_taints_with_its_own_taint(self):
        self.may(self.controller, "PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [*taints("n1"), TAINT]}})
        self.may(self.controller, "PATCH", "/api/v1/nodes/n1", {"metadata": {"annotations": {"retile.dev/note": "x"}}})
        others = [taint for taint in taints("n1") if taint["key"] != TAINT["key"]]
        self.assertIn(THEIRS, others)
        self.may(self.controller, "PATCH", "/api/v1/nodes/n1", {"spec": {"taints": others}})

    def test_the_controller_keeps_autoscalers_off_and_has_it_on_record(self):
        change = lambda **values: {"metadata": {"annotations": values}}  # noqa: E731
        on = {SCALE_DOWN: "true", KARPENTER: "true", PROTECTION: f"{SCALE_DOWN},{KARPENTER}"}
        self.may(self.controller, "PATCH", "/api/v1/nodes/n1", change(**on))
        self.may_not(self.controller, "no annotation", "PATCH", "/api/v1/nodes/n1", change(**{SCALE_DOWN: "false"}))
        self.may(self.controller, "PATCH", "/api/v1/nodes/n1", change(**dict.fromkeys(on)))

    def test_the_controller_changes_nothing_else_of_a_node(self):
        made(server.call("PATCH", "/api/v1/nodes/n2", {"metadata": {"annotations": {"retile.dev/paused": "true", "their/note": "x", KARPENTER: "true"}}}))
        others = taints("n2")
        tainted = lambda *taints: {"spec": {"taints": list(taints)}}  # noqa: E731
        for words, change in (
            ("no label", {"metadata": {"labels": {"nvidia.com/mig.config": "all-disabled"}}}),
            ("no label", {"metadata": {"labels": {"a": None}}}),
            ("no label", labelled("dcgm", dcgm=PAUSED)),
            ("neither cordons", {"spec": {"unschedulable": True}}),
            ("neither cordons", {"spec": {"providerID": "x"}}),
            ("no taint but", tainted()),
            ("no taint but", tainted(*others[1:])),
            ("no taint but", tainted(*others, {**TAINT, "key": "their/taint"})),
            ("no taint but", tainted({**others[0], "value": "other"}, *others[1:])),
            ("names its operation", tainted(*others, {**TAINT, "effect": "NoExecute"})),
            ("names its operation", tainted(*others, {"key": TAINT["key"], "effect": "NoSchedule"})),
            ("names its operation", tainted(*others, TAINT, {**TAINT, "effect": "NoExecute"})),
            ("no annotation", {"metadata": {"annotations": {"their/note": "y"}}}),
            ("no annotation", {"metadata": {"annotations": {"their/note": None}}}),
            ("no annotation", {"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}}}),
            ("no annotation", {"metadata": {"annotations": {SCALE_DOWN: "false", PROTECTION: SCALE_DOWN}}}),
            ("no annotation", {"metadata": {"annotations": {"their/other": "true", PROTECTION: "their/other"}}}),
            ("no annotation", {"metadata": {"annotations": {KARPENTER: None, PROTECTION: SCALE_DOWN}}}),
            ("no annotation", {"metadata": {"annotations": {"retile.dev/paused": None}}}),
            ("no annotation", {"metadata": {"annotations": {"retile.dev/paused": "false"}}}),
            ("finalizers", {"metadata": {"finalizers": ["their/finalizer"]}}),
        ):
            with self.subTest(change=change):
                self.may_not(self.controller, words, "PATCH", "/api/v1/nodes/n2", change)
        self.may_not(self.controller, "cannot", "PATCH", "/api/v1/nodes/n2/status", {"status": {}})
        self.may_not(self.controller, "cannot", "DELETE", "/api/v1/nodes/n2")

    def test_the_controller_pauses_no_client(self):
        self.denied("no label", labelled("dcgm", dcgm=PAUSED), dcgm="true")
        self.denied("no label", labelled("device-plugin,dcgm", device_plugin=PAUSED, dcgm=PAUSED), device_plugin="true", dcgm="true")

    # The controller, on pods.

    def test_the_controller_evicts_pinned_and_elsewhere(self):
        uid = make_pod("ml", "victim")["metadata"]["uid"]
        path = "/api/v1/namespaces/ml/pods/victim/eviction"
        self.may_not(self.controller, "pins each eviction", "POST", path, evict("victim", "ml", None))
        self.may_not(self.controller, "grace period", "POST", path, evict("victim", "ml", uid, gracePeriodSeconds=0))
        self.may(self.controller, "POST", f"{path}?dryRun=All", evict("victim", "ml", uid))
        made(server.call("GET", "/api/v1/namespaces/ml/pods/victim"))
        self.may(self.controller, "POST", path, evict("victim", "ml", uid))
        for namespace in ("kube-system", chart.NAMESPACE, "gpu-operator", "payments"):
            uid = make_pod(namespace, "held")["metadata"]["uid"]
            with self.subTest(namespace=namespace):
                path = f"/api/v1/namespaces/{namespace}/pods/held/eviction"
                self.may_not(self.controller, "is protected", "POST", path, evict("held", namespace, uid))

    def test_the_controller_restarts_the_device_plugin_and_deletes_nothing_else(self):
        plugin = {"app": "nvidia-device-plugin-daemonset"}
        daemon = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "nvidia-device-plugin-daemonset", "uid": "d", "controller": True}
        job = {**daemon, "apiVersion": "batch/v1", "kind": "Job"}
        for name, labels, owner, words in (
            ("exporter", {"app": "nvidia-dcgm-exporter"}, daemon, "pods of the device plugin only"),
            ("impostor", plugin, job, "DaemonSet makes it again"),
            ("orphan", plugin, None, "DaemonSet makes it again"),
        ):
            uid = make_pod("gpu-operator", name, labels=labels, owner=owner)["metadata"]["uid"]
            with self.subTest(pod=name):
                self.may_not(self.controller, words, "DELETE", f"/api/v1/namespaces/gpu-operator/pods/{name}", delete(uid))
        for name, labels in (("plugin-a", plugin), ("plugin-b", {"app.kubernetes.io/name": "nvidia-device-plugin"})):
            uid = make_pod("gpu-operator", name, labels=labels, owner=daemon)["metadata"]["uid"]
            path = f"/api/v1/namespaces/gpu-operator/pods/{name}"
            with self.subTest(pod=name):
                self.may_not(self.controller, "to a UID", "DELETE", path)
                self.may(self.controller, "DELETE", path, delete(uid))
        uid = make_pod("ml", "worker", labels=plugin, owner=daemon)["metadata"]["uid"]
        self.may_not(self.controller, "cannot delete", "DELETE", "/api/v1/namespaces/ml/pods/worker", delete(uid))
        self.may_not(self.controller, "cannot", "DELETE", "/api/v1/namespaces/gpu-operator/pods")

    # The controller, on the rest.

    def test_the_controller_publishes_plans_and_approves_none(self):
        self.may_not(self.controller, "without approval", "POST", f"{RETILE}/migplans", plan(approval={"approved": True}))
        self.may(self.controller, "POST", f"{RETILE}/migplans", plan())
        self.may_not(self.controller, "cannot patch", "PATCH", f"{RETILE}/migplans/p", {"spec": {"approval": {"approved": True}}})
        made(server.call("PATCH", f"{RETILE}/migplans/p", {"spec": {"approval": {"approved": True}}}))
        self.may(self.controller, "PATCH", f"{RETILE}/migplans/p/status", {"status": {"phase": "Executing"}})
        self.may(self.controller, "DELETE", f"{RETILE}/migplans/p")

    def test_the_controller_has_no_other_right(self):
        made(server.call("POST", f"{RETILE}/mignodes", record("n3")))
        self.addCleanup(server.call, "DELETE", f"{RETILE}/mignodes/n3")
        self.may(self.controller, "PATCH", f"{RETILE}/mignodes/n3", {"spec": {"history": []}})
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{chart.NAMESPACE}/leases"
        self.may(self.controller, "POST", leases, {"metadata": {"name": "retile-leader"}})
        self.may(self.controller, "GET", f"{leases}/retile-leader")
        made(server.call("POST", leases, {"metadata": {"name": "another"}}))
        for method, path, body in (
            ("PATCH", f"{RETILE}/mignodes/n3/status", {"status": {}}),
            ("DELETE", f"{RETILE}/mignodes/n3", None),
            ("PATCH", f"{RETILE}/migpolicies/default", {"spec": {"mode": "Act"}}),
            ("GET", f"{leases}/another", None),
            ("GET", "/api/v1/secrets", None),
            ("GET", "/api/v1/configmaps", None),
            ("POST", "/api/v1/namespaces/ml/pods", {}),
            ("POST", "/api/v1/namespaces/ml/pods/worker/exec", {}),
            ("GET", "/api/v1/nodes/n1/proxy/pods", None),
            ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", None),
            ("PATCH", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/retile-controller-node", {"spec": {}}),
            ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/retile-controller", {"rules": []}),
        ):
            with self.subTest(path=path):
                self.may_not(self.controller, "cannot", method, path, body)


class Pausing(LettingGoOn, Tried):
    """A chart that lets the controller pause the GPU Operator's clients of GPUs: it can, and nothing else of a label becomes possible."""

    values = {**FULL, "controller": {"pauseClients": True}}
    deployed = {"dcgm": "true", "device_plugin": "true", "nvsm": "false", "mig_manager": "true"}
    nodes = (("n1", {"a": "b"}),)

    def test_the_controller_pauses_clients_and_lets_them_go_on(self):
        path = "/api/v1/nodes/n1"
        labels = {f"other/label-{number}": "x" * 60 for number in range(300)}
        notes = {f"other/note-{number}": "x" * 500 for number in range(100)}
        # As full as nodes are, and fuller: what is evaluated has a limit.
        made(server.call("PATCH", path, {"metadata": {"labels": {**labels, **deployed(self.deployed)}, "annotations": notes}}))
        before = taints("n1")
        self.may(self.controller, "PATCH", path, {"spec": {"taints": [*before, TAINT]}})
        pause = labelled("device-plugin,dcgm", device_plugin=PAUSED, dcgm=PAUSED)
        resume = labelled(None, device_plugin="true", dcgm="true")
        for _ in range(2):
            self.may(self.controller, "PATCH", f"{path}?dryRun=All", pause)
            self.may(self.controller, "PATCH", path, pause)
            self.may_not(self.controller, "no label", "PATCH", path, labelled(None, dcgm="false"))
            self.may(self.controller, "PATCH", path, resume)
        self.may(self.controller, "PATCH", path, {"spec": {"taints": before}})

    def test_a_record_that_lists_nobody_is_none(self):
        self.allowed(labelled("dcgm", dcgm=PAUSED), dcgm="true", record="")

    def test_pausing_takes_the_operations_taint(self):
        self.denied("no label", labelled("dcgm", dcgm=PAUSED), dcgm="true", tainted=False)
        both = {**labelled("dcgm", dcgm=PAUSED), "spec": {"taints": [THEIRS, TAINT]}}
        # With a taint that is put on by the same write it is an operation's too; what is taken off by it is none.
        self.denied("no taint but", {**both, "spec": {"taints": [TAINT]}}, dcgm="true", tainted=False)
        self.denied("no label", {**both, "spec": {"taints": [THEIRS]}}, dcgm="true")

    def test_the_controller_changes_no_other_label_and_none_without_a_record(self):
        for change in (
            {"metadata": {"labels": {"a": "c"}}},
            {"metadata": {"labels": {"b": "c"}}},
            {"metadata": {"labels": {f"{DEPLOY}dcgm": PAUSED}}},
            labelled("dcgm", device_plugin=PAUSED),
            labelled("dcgm", dcgm="false"),
            labelled("dcgm", dcgm=TWICE),
            labelled("dcgm", dcgm=None),
            labelled("nvsm", nvsm=PAUSED),
            labelled("nvsm", nvsm="true"),
            labelled("client", client=PAUSED),
            labelled("mig-manager", mig_manager=PAUSED),
        ):
            self.denied("no label", change, **self.deployed)

    def test_the_record_says_no_more_than_is_paused(self):
        self.denied("no client on record", labelled("dcgm,device-plugin", dcgm=PAUSED), **self.deployed)
        self.denied("no client on record", labelled("dcgm,nvsm", dcgm=PAUSED), **{**self.deployed, "nvsm": PAUSED})
        self.denied("no client on record", labelled("dcgm,operator-validator", dcgm=PAUSED), **self.deployed)


class ScaleUpDelay(unittest.TestCase):
    def test_pods_that_ask_for_mig_wait_and_no_others(self):
        documents = chart.of_kind(
            chart.objects(chart.MATRIX["delayed-v1"]), "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"
        )
        try:
            for document in documents:
                made(server.apply(document))
        except LookupError as error:
            self.skipTest(str(error))
        key = "cluster-autoscaler.kubernetes.io/pod-scale-up-delay"

        def given(annotations=None, **container):
            body = pod("ml", "dry", annotations=annotations)
            body["spec"]["containers"][0].update(container)
            answer = made(server.call("POST", "/api/v1/namespaces/ml/pods?dryRun=All", body))
            return answer["metadata"].get("annotations", {}).get(key)

        mig = {"resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}
        server.wait(lambda: given(**mig) == "10m", "the policy to be read", 60)
        self.assertIsNone(given())
        self.assertIsNone(given(resources={"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}))
        self.assertEqual(given({key: "5s"}, **mig), "5s")
        self.assertEqual(given({"other": "x"}, **mig), "10m")


ENDED = {"id": "o", "epoch": 1, "gpus": [], "outcome": "Done"}


def taints(node):
    """With those that the API server puts on a node that nobody has reported ready."""
    return made(server.call("GET", f"/api/v1/nodes/{node}"))["spec"]["taints"]


def record(name):
    return {"apiVersion": "retile.dev/v1alpha1", "kind": "MigNode", "metadata": {"name": name}, "spec": {}}


def plan(**more):
    spec = {"fingerprint": "f", "served": 1, "evicted": 0, "nodes": 1, "document": "{}", **more}
    return {"apiVersion": "retile.dev/v1alpha1", "kind": "MigPlan", "metadata": {"name": "p"}, "spec": spec}


def delete(uid):
    return {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}


def evict(name, namespace, uid, **options):
    options = {"preconditions": {"uid": uid}, **options} if uid else options
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}, "deleteOptions": options}


def pod(namespace, name, labels=None, annotations=None, owner=None, account="default", node=None):
    meta = {"name": name, "namespace": namespace, "labels": labels or {}, "annotations": annotations or {}}
    if owner:
        meta["ownerReferences"] = [owner]
    spec = {"serviceAccountName": account, "containers": [{"name": "c", "image": "none"}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": meta, "spec": spec}


def make_pod(namespace, name, **more):
    return made(server.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod(namespace, name, **more)))


def token(account, pod=None):
    """As the kubelet asks for it: bound to a pod, and so to its node; or bound to nothing."""
    spec = {"expirationSeconds": 3600}
    if pod:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod}
    path = f"/api/v1/namespaces/{chart.NAMESPACE}/serviceaccounts/{account}/token"
    return made(server.call("POST", path, {"spec": spec}))["status"]["token"]


def denied(answer):
    code, body = answer
    return code in (403, 422) and "ValidatingAdmissionPolicy" in body.get("message", "")


if __name__ == "__main__":
    unittest.main()

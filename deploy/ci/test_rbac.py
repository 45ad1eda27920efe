"""What the two service accounts may do, written out: a right that is not on this list fails, and so does one that no profile has any more."""

import unittest

import chart

READ = {"get", "list", "watch"}
CONTROLLER = {
    ("", "nodes"): READ,
    ("", "pods"): READ,
    ("policy", "poddisruptionbudgets"): READ,
    ("scheduling.k8s.io", "priorityclasses"): READ,
    ("resource.k8s.io", "deviceclasses"): READ,
    ("resource.k8s.io", "resourceslices"): READ,
    ("retile.dev", "mignodes"): READ,
    ("retile.dev", "migpolicies"): READ,
    ("retile.dev", "migplans"): READ | {"create", "delete"},
    ("retile.dev", "migplans/status"): {"patch"},
    ("retile.dev", "migpolicies/status"): {"patch"},
    ("events.k8s.io", "events"): {"create", "patch"},
    ("coordination.k8s.io", "leases"): {"create", "get", "update"},
}
RESHAPE = {("", "nodes"): {"patch"}, ("retile.dev", "mignodes"): {"patch"}}
EVICT = {("", "pods/eviction"): {"create"}}
AGENT = {
    ("", "nodes"): READ,
    ("", "pods"): {"list", "watch"},
    ("retile.dev", "mignodes"): READ | {"create"},
    ("retile.dev", "mignodes/status"): {"patch"},
}
ALWAYS = {"retile-agent-own-node", "retile-controller-approval"}
# Each of these turns a foothold into a cluster. None may appear anywhere, whatever the values.
TRAMPOLINES = [
    ({"*"}, set(), "a wildcard"),
    (set(), {"escalate", "bind", "impersonate"}, "rights that make rights"),
    ({"secrets"}, set(), "secrets"),
    ({"serviceaccounts/token", "tokenreviews", "certificatesigningrequests"}, set(), "identities"),
    ({"pods/exec", "pods/attach", "pods/ephemeralcontainers", "nodes/proxy"}, set(), "a shell"),
    ({"pods"}, {"create", "update", "patch"}, "pods of its own making"),
    ({"clusterroles", "clusterrolebindings", "roles", "rolebindings"}, set(), "roles"),
    ({"customresourcedefinitions", "validatingadmissionpolicies", "mutatingwebhookconfigurations"}, set(), "the API itself"),
    ({"configmaps", "deployments", "daemonsets", "jobs"}, {"create", "update", "patch", "delete"}, "workloads"),
    ({"nodes/status", "mignodes/finalizers"}, set(), "status of nodes"),
    (set(), {"deletecollection"}, "deleting at large"),
]


def rules(documents):
    """Every role with its rules."""
    for role in chart.of_kind(documents, "ClusterRole", "Role"):
        for rule in role["rules"]:
            yield role, rule


def cluster_rights(documents, account):
    """What an account may do through cluster roles and the roles of its own namespace."""
    bound = set()
    for binding in chart.of_kind(documents, "ClusterRoleBinding", "RoleBinding"):
        if any(subject["name"] == account for subject in binding["subjects"]):
            bound.add((binding["roleRef"]["kind"], binding["metadata"].get("namespace", ""), binding["roleRef"]["name"]))
    rights = {}
    for role, rule in rules(documents):
        here = role["metadata"].get("namespace", "")
        if (role["kind"], here, role["metadata"]["name"]) not in bound or here not in ("", chart.NAMESPACE):
            continue
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


def plus(*tables):
    total = {}
    for table in tables:
        for key, verbs in table.items():
            total[key] = total.get(key, set()) | verbs
    return total


class Rights(unittest.TestCase):
    def test_exactly_these(self):
        self.maxDiff = None
        for profile, expected in (
            ("observe", CONTROLLER),
            ("reshape", plus(CONTROLLER, RESHAPE)),
            ("full", plus(CONTROLLER, RESHAPE, EVICT)),
        ):
            documents = chart.objects({"profile": profile})
            with self.subTest(profile=profile):
                self.assertEqual(cluster_rights(documents, "retile-controller"), expected)
                self.assertEqual(cluster_rights(documents, "retile-agent"), AGENT)

    def test_no_trampoline(self):
        for name, values in chart.MATRIX.items():
            for role, rule in rules(chart.objects(values)):
                for resources, verbs, what in TRAMPOLINES:
                    touched = not resources or resources & set(rule["resources"])
                    used = not verbs or verbs & set(rule["verbs"])
                    with self.subTest(case=name, role=role["metadata"]["name"], what=what):
                        self.assertFalse(touched and used, rule)
                        self.assertNotIn("*", rule["verbs"] + rule["apiGroups"] + rule["resources"])
                        self.assertNotIn("nonResourceURLs", rule)

    def test_pods_are_deleted_only_where_the_device_plugin_is(self):
        for name, values in chart.MATRIX.items():
            documents = chart.objects(values)
            where = {
                role["metadata"].get("namespace")
                for role, rule in rules(documents)
                if "pods" in rule["resources"] and "delete" in rule["verbs"]
            }
            expected = set()
            if values.get("profile", "observe") != "observe":
                expected = set(values.get("devicePlugin", {}).get("namespaces", ["gpu-operator"]))
            with self.subTest(case=name):
                self.assertEqual(where, expected)

    def test_observing_writes_no_node_and_no_pod(self):
        documents = chart.objects({"profile": "observe"})
        for role, rule in rules(documents):
            writes = set(rule["verbs"]) - READ
            with self.subTest(role=role["metadata"]["name"], rule=rule):
                self.assertFalse(writes and {"nodes", "pods", "pods/eviction"} & set(rule["resources"]))
        self.assertNotIn(("retile.dev", "mignodes"), {
            (group, resource)
            for role, rule in rules(documents)
            if role["metadata"]["name"].startswith("retile-controller") and {"update", "patch"} & set(rule["verbs"])
            for group in rule["apiGroups"] for resource in rule["resources"]
        })

    def test_nothing_is_aggregated_to_tenants(self):
        for role in chart.of_kind(chart.objects({"profile": "full"}), "ClusterRole"):
            labels = role["metadata"].get("labels", {})
            self.assertFalse([key for key in labels if key.startswith("rbac.authorization.k8s.io/aggregate-to-")])

    def test_roles_for_people_are_bound_to_nobody_and_write_no_record(self):
        documents = chart.objects({"profile": "full"})
        bound = {binding["roleRef"]["name"] for binding in chart.of_kind(documents, "ClusterRoleBinding", "RoleBinding")}
        for name in ("retile-viewer", "retile-operator"):
            self.assertNotIn(name, bound)
            for rule in chart.named(documents, "ClusterRole", name)["rules"]:
                self.assertEqual(rule["apiGroups"], ["retile.dev"])
                if set(rule["verbs"]) - READ:
                    self.assertNotIn("mignodes", rule["resources"])

    def test_the_lease_is_bound_to_its_name(self):
        documents = chart.objects({})
        (role,) = [role for role in chart.of_kind(documents, "Role") if role["metadata"]["name"] == "retile-controller-lease"]
        for rule in role["rules"]:
            if rule["verbs"] != ["create"]:
                self.assertEqual(rule["resourceNames"], ["retile-leader"])

    def test_policies_bound_every_right_that_writes_nodes_pods_and_records(self):
        for profile, expected in (
            ("observe", ALWAYS),
            ("reshape", ALWAYS | {"retile-controller-node", "retile-controller-plugin"}),
            ("full", ALWAYS | {"retile-controller-node", "retile-controller-plugin", "retile-controller-eviction"}),
        ):
            documents = chart.objects({"profile": profile})
            with self.subTest(profile=profile):
                policies = chart.of_kind(documents, "ValidatingAdmissionPolicy")
                self.assertEqual({policy["metadata"]["name"] for policy in policies}, expected)
                bound = {b["spec"]["policyName"] for b in chart.of_kind(documents, "ValidatingAdmissionPolicyBinding")}
                self.assertEqual(bound, expected)
                for policy in policies:
                    self.assertEqual(policy["spec"]["failurePolicy"], "Fail")

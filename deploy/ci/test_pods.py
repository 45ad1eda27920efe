"""The pods are as harmless as they can be, and use only options that the programs have."""

import unittest

import chart


def pods(values):
    """Component, pod specification and container of each workload."""
    for workload in chart.of_kind(chart.objects(values), "Deployment", "DaemonSet"):
        spec = workload["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        yield workload, spec, container


def tools(values):
    """Whether the agent runs NVIDIA's tools on the node."""
    return values.get("agent", {}).get("hostTools", {}).get("enabled", False)


class Pods(unittest.TestCase):
    def test_common(self):
        for name, values in chart.MATRIX.items():
            for workload, spec, container in pods(values):
                with self.subTest(case=name, workload=chart.identity(workload)):
                    context = container["securityContext"]
                    self.assertFalse(context["privileged"])
                    self.assertFalse(context["allowPrivilegeEscalation"])
                    self.assertTrue(context["readOnlyRootFilesystem"])
                    self.assertEqual(context["capabilities"]["drop"], ["ALL"])
                    for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
                        self.assertFalse(spec.get(key, False), key)
                    self.assertFalse(spec["automountServiceAccountToken"])
                    self.assertIn("limits", container["resources"])
                    self.assertNotIn("initContainers", spec)
                    for probe in ("livenessProbe", "readinessProbe"):
                        self.assertEqual(container[probe]["httpGet"]["port"], "health")
                    for variable in container["env"]:
                        self.assertNotIn("secretKeyRef", variable.get("valueFrom", {}))
                    self.assertNotIn("envFrom", container)
                    selector = workload["spec"]["selector"]["matchLabels"].items()
                    self.assertLessEqual(selector, workload["spec"]["template"]["metadata"]["labels"].items())

    def test_no_volume_but_these(self):
        for name, values in chart.MATRIX.items():
            for workload, spec, _ in pods(values):
                kinds = {volume["name"]: next(key for key in volume if key != "name") for volume in spec["volumes"]}
                with self.subTest(case=name, workload=chart.identity(workload)):
                    if workload["kind"] == "Deployment":
                        guards = values.get("controller", {}).get("metrics", {})
                        mounted = {f"metrics-{key.removesuffix('Secret')}": "secret" for key in guards}
                        self.assertEqual(kinds, {"api-access": "projected", **mounted})
                    else:
                        agent = {"api-access": "projected", "state": "hostPath", "pod-resources": "hostPath"}
                        self.assertEqual(kinds, {**agent, "host": "hostPath"} if tools(values) else agent)
                for volume in spec["volumes"]:
                    for source in volume.get("projected", {}).get("sources", []):
                        self.assertNotIn("secret", source)

    def test_the_controller_meets_pod_security_restricted(self):
        for name, values in chart.MATRIX.items():
            for workload, spec, container in pods(values):
                if workload["kind"] != "Deployment":
                    continue
                with self.subTest(case=name):
                    self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                    self.assertNotEqual(spec["securityContext"]["runAsUser"], 0)
                    self.assertEqual(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
                    self.assertNotIn("add", container["securityContext"]["capabilities"])

    def test_the_agent_has_one_capability_and_two_folders_unless_it_runs_tools_of_the_node(self):
        for name, values in chart.MATRIX.items():
            for workload, spec, container in pods(values):
                if workload["kind"] != "DaemonSet":
                    continue
                with self.subTest(case=name):
                    added = ["SYS_ADMIN", "MKNOD", "SYS_CHROOT"] if tools(values) else ["SYS_ADMIN"]
                    self.assertEqual(container["securityContext"]["capabilities"]["add"], added)
                    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
                    self.assertTrue(mounts["pod-resources"]["readOnly"])
                    paths = {v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
                    expected = {"/var/lib/retile", "/var/lib/kubelet/pod-resources"}
                    self.assertEqual(paths, expected | {"/"} if tools(values) else expected)
                    for toleration in spec["tolerations"]:
                        self.assertIn("key", toleration, "a toleration of everything")
                    self.assertEqual(workload["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1)
                    self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], 60)

    def test_replicas_come_with_a_budget(self):
        for replicas, budgets in ((1, 0), (2, 1), (3, 1)):
            documents = chart.objects({"controller": {"replicas": replicas}})
            with self.subTest(replicas=replicas):
                self.assertEqual(len(chart.of_kind(documents, "PodDisruptionBudget")), budgets)

    def test_guarded_metrics_are_scraped_as_they_are_guarded(self):
        documents = chart.objects(chart.MATRIX["guarded-metrics"])
        (endpoint,) = chart.named(documents, "ServiceMonitor", "retile-controller")["spec"]["endpoints"]
        self.assertEqual(endpoint["scheme"], "https")
        self.assertEqual(endpoint["tlsConfig"], {"serverName": "retile"})
        self.assertEqual(endpoint["authorization"]["credentials"], {"name": "retile-token", "key": "token"})
        (plain,) = chart.named(chart.objects(chart.MATRIX["monitored"]), "ServiceMonitor", "retile-controller")["spec"]["endpoints"]
        self.assertEqual(set(plain), {"port", "interval"})

    def test_metrics_are_not_open_to_all(self):
        for values in ({}, {"networkPolicy": {"metricsFrom": []}}):
            for policy in chart.of_kind(chart.objects(values), "NetworkPolicy"):
                with self.subTest(policy=policy["metadata"]["name"], values=values):
                    self.assertEqual(set(policy["spec"]["policyTypes"]), {"Ingress", "Egress"})
                    for rule in policy["spec"]["ingress"]:
                        self.assertTrue(rule["from"])
                        self.assertTrue(rule["ports"])
                    for rule in policy["spec"]["egress"]:
                        self.assertTrue(rule["ports"])

"""The chart renders under every values case, and what it renders is what the API server takes."""

import functools
import json
import unittest

import helm_python as helm
import kubernetes_validate
import yaml

import chart

# The oldest version that the chart names, and the newest whose schemas are at hand.
VERSIONS = ("1.30", "1.37")
# Kinds that Kubernetes itself has no schema of, and those that came later than the oldest version.
FOREIGN = {"MigPolicy", "ServiceMonitor", "PodMonitor", "PrometheusRule"}
LATER = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}

# It reads the same large files for every object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


class Chart(unittest.TestCase):
    def test_lints(self):
        with chart.quiet():
            findings = helm.lint(str(chart.CHART), strict=True)
        bad = [line for line in json.dumps(findings, default=str).splitlines() if "ERROR" in line or "WARN" in line]
        self.assertEqual(bad, [])

    def test_renders_valid_objects(self):
        for name, values in chart.MATRIX.items():
            for document in chart.objects(values):
                kind = document["kind"]
                for version in VERSIONS:
                    if kind in FOREIGN or (kind in LATER and version == VERSIONS[0]):
                        continue
                    with self.subTest(case=name, object=chart.identity(document), version=version):
                        try:
                            kubernetes_validate.validate(document, version, strict=True)
                        except kubernetes_validate.ValidationError as error:
                            self.fail(f"{error.json_path}: {error.message}")

    def test_no_object_twice(self):
        for name, values in chart.MATRIX.items():
            with self.subTest(case=name):
                seen = [chart.identity(document) for document in chart.objects(values)]
                self.assertEqual(len(seen), len(set(seen)))

    def test_version_is_the_programs(self):
        meta = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
        cargo = (chart.ROOT / "Cargo.toml").read_text()
        self.assertIn(f'version = "{meta["appVersion"]}"', cargo)

    def test_crds_are_the_generated_ones(self):
        """One source: deploy/crds, taken in whole, with nothing added but what Helm needs."""
        sources = [yaml.safe_load(path.read_text()) for path in sorted((chart.DEPLOY / "crds").glob("*.yaml"))]
        rendered = chart.of_kind(chart.objects({}), "CustomResourceDefinition")
        self.assertEqual(len(sources), len(rendered))
        self.assertTrue(rendered)
        for source in sources:
            document = chart.named(rendered, "CustomResourceDefinition", source["metadata"]["name"])
            self.assertEqual(document["spec"], source["spec"])
            self.assertEqual(document["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        kept = chart.of_kind(chart.objects(chart.MATRIX["bare"]), "CustomResourceDefinition")
        self.assertFalse(any("helm.sh/resource-policy" in (crd["metadata"].get("annotations") or {}) for crd in kept))

    def test_policy_waits_for_its_kind(self):
        """Helm refuses an object of a kind that the same install brings."""
        self.assertEqual(chart.of_kind(chart.objects({}), "MigPolicy"), [])
        (policy,) = chart.of_kind(chart.objects(chart.MATRIX["observe"]), "MigPolicy")
        self.assertEqual(policy["spec"], {"mode": "Observe"})

    def test_dashboards_and_alerts_go_in_whole(self):
        documents = chart.objects(chart.MATRIX["monitored"])
        data = chart.named(documents, "ConfigMap", "retile-dashboards")["data"]
        files = sorted((chart.DEPLOY / "grafana").glob("*.json"))
        self.assertTrue(files)
        self.assertEqual(sorted(data), [f"retile-{path.name}" for path in files])
        for path in files:
            self.assertEqual(json.loads(data[f"retile-{path.name}"]), json.loads(path.read_text()))
        (rule,) = chart.of_kind(documents, "PrometheusRule")
        groups = []
        for path in sorted((chart.DEPLOY / "alerts").glob("*.yaml")):
            groups += yaml.safe_load(path.read_text())["groups"]
        self.assertEqual(rule["spec"]["groups"], groups)
        self.assertTrue(groups)


if __name__ == "__main__":
    unittest.main()

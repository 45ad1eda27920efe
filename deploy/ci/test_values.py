"""Values that are wrong are refused, with words that help."""

import unittest

import helm_python as helm

import chart

REFUSED_BY_SCHEMA = [
    {"profile": "everything"},
    {"profil": "full"},
    {"image": {"repository": ""}},
    {"image": {"repository": "retile:0.1.0"}},
    {"image": {"digest": "sha256:abc"}},
    {"controller": {"replicas": 0}},
    {"controller": {"replicas": "2"}},
    {"controller": {"extraArgs": ["dry-run"]}},
    {"controller": {"logFormat": "xml"}},
    {"agent": {"enabled": "yes"}},
    {"agent": {"namespace": "Not_A_Name"}},
    {"agent": {"stateDir": "var/lib/retile"}},
    {"agent": {"nodeSelector": {"retile.dev/managed": True}}},
    {"agent": {"resources": {"limit": {"memory": "1Gi"}}}},
    {"devicePlugin": {"namespaces": []}},
    {"devicePlugin": {"selectors": [{"key": "app"}]}},
    {"devicePlugin": {"selectors": [{"key": "app", "value": 'x" || true || "'}]}},
    {"admissionPolicies": {"enabled": None}},
    {"admissionPolicies": {"protectedNamespaces": ['a"]) || (true']}},
    {"scaleUpDelay": {"enabled": True, "delay": "soon"}},
    {"networkPolicy": {"apiServer": {"ports": [0]}}},
    {"networkPolicy": {"apiServer": {"cidrs": ["anywhere"]}}},
    {"monitoring": {"serviceMonitor": {"create": True}}},
    {"policy": {"spec": {"mode": "act"}}},
    {"policy": {"spec": {"clients": "pause"}}},
    {"controller": {"pauseClients": "yes"}},
    {"policy": {"spec": {"disruption": {"level": "Some"}}}},
]

# Values, and words that the message must hold.
REFUSED_BY_GUARD = [
    ({"policy": {"spec": {"mode": "Act"}}}, "no right to act"),
    ({"policy": {"spec": {"mode": "Recommend"}}}, "no right to carry an approved plan out"),
    (
        {"profile": "reshape", "policy": {"spec": {"mode": "Act", "disruption": {"level": "Balanced"}}}},
        "no right to evict",
    ),
    ({"profile": "full", "policy": {"spec": {"clients": "operator-pause"}}}, "lets the controller pause nothing"),
    ({"profile": "full", "agent": {"enabled": False}}, "need agents"),
    ({"scaleUpDelay": {"enabled": True}}, "MutatingAdmissionPolicy"),
]


class Values(unittest.TestCase):
    def test_the_schema_refuses(self):
        for values in REFUSED_BY_SCHEMA:
            with self.subTest(values=values), chart.quiet(), helm.Chart.load(str(chart.CHART)) as loaded:
                with self.assertRaises(helm.HelmError):
                    loaded.validate_schema(values)

    def test_the_schema_takes_every_case(self):
        for name, values in chart.MATRIX.items():
            with self.subTest(case=name), chart.quiet(), helm.Chart.load(str(chart.CHART)) as loaded:
                loaded.validate_schema(values)

    def test_contradictions_are_refused(self):
        for values, words in REFUSED_BY_GUARD:
            with self.subTest(values=values), self.assertRaisesRegex(helm.HelmError, words):
                chart.templates(values)

    def test_what_a_profile_never_does_contradicts_nothing(self):
        chart.templates({"profile": "observe", "policy": {"spec": {"clients": "operator-pause"}}})

    def test_every_value_is_in_the_schema_with_a_description(self):
        import json

        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        with chart.quiet(), helm.Chart.load(str(chart.CHART)) as loaded:
            self.compare(loaded.values, schema, "")

    def compare(self, values, schema, path):
        for key, value in values.items():
            with self.subTest(key=path + key):
                entry = schema.get("properties", {}).get(key)
                self.assertIsNotNone(entry, "the schema does not know it")
                self.assertTrue("description" in entry or "$ref" in entry, "the schema does not describe it")
                if isinstance(value, dict) and entry.get("additionalProperties") is False:
                    self.compare(value, entry, f"{path}{key}.")

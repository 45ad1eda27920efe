"""Alerts and dashboards: correct PromQL over metrics that exist, each alert played through and with a page that says what to do."""

import json
import os
import re
import subprocess
import tempfile
import unittest

import yaml

import chart

PROMTOOL = os.environ.get("PROMTOOL")
METRICS = chart.ROOT / "docs" / "reference" / "metrics.md"
RUNBOOKS = chart.ROOT / "docs" / "runbooks"
SUFFIXES = ("_bucket", "_sum", "_count")
NAME = re.compile(r"\bretile_[a-z][a-z0-9_]*")
# Variables of Grafana, as the queries write them.
VARIABLE = re.compile(r"\$\{?[a-z_]+\}?")


def table():
    """Names of all metrics, from the table that is generated from the code."""
    return set(NAME.findall(METRICS.read_text()))


def alerts():
    for path in sorted((chart.DEPLOY / "alerts").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def queries():
    """Dashboard, panel and expression."""
    for path in sorted((chart.DEPLOY / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield path.name, panel["title"], target["expr"]


def used(text):
    names = set()
    for name in NAME.findall(text):
        for suffix in SUFFIXES:
            name = name.removesuffix(suffix)
        names.add(name)
    return names


class Metrics(unittest.TestCase):
    def test_every_metric_exists(self):
        known = table()
        self.assertGreater(len(known), 20, f"{METRICS} holds no table")
        for rule in alerts():
            with self.subTest(alert=rule["alert"]):
                self.assertLessEqual(used(rule["expr"]), known)
        for dashboard, panel, expression in queries():
            with self.subTest(dashboard=dashboard, panel=panel):
                self.assertLessEqual(used(expression), known)
        for folder in ("docs", "deploy"):
            for path in sorted((chart.ROOT / folder).rglob("*.md")):
                with self.subTest(page=str(path.relative_to(chart.ROOT))):
                    self.assertLessEqual(used(path.read_text()), known)


class Alerts(unittest.TestCase):
    def test_each_has_a_page_and_each_page_an_alert(self):
        names = [rule["alert"] for rule in alerts()]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(sorted(names), sorted(path.stem for path in RUNBOOKS.glob("*.md")))
        for rule in alerts():
            self.assertEqual(rule["annotations"]["runbook"], f"docs/runbooks/{rule['alert']}.md")
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
            for section in ("## What it means", "## What to do"):
                self.assertIn(section, (RUNBOOKS / f"{rule['alert']}.md").read_text(), rule["alert"])

    def test_each_is_played_through(self):
        cases = yaml.safe_load((chart.DEPLOY / "ci" / "alerts.test.yaml").read_text())["tests"]
        steps = [step for case in cases for step in case["alert_rule_test"]]
        fires = {step["alertname"] for step in steps if step.get("exp_alerts")}
        self.assertEqual(fires, {rule["alert"] for rule in alerts()})

    @unittest.skipUnless(PROMTOOL, "promtool cannot be had here")
    def test_promtool_agrees(self):
        for arguments in (["check", "rules", "../alerts/retile.yaml"], ["test", "rules", "alerts.test.yaml"]):
            done = subprocess.run([PROMTOOL, *arguments], cwd=chart.DEPLOY / "ci", capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Dashboards(unittest.TestCase):
    def test_shape(self):
        uids = set()
        for path in sorted((chart.DEPLOY / "grafana").glob("*.json")):
            dashboard = json.loads(path.read_text())
            with self.subTest(dashboard=path.name):
                self.assertNotIn(dashboard["uid"], uids)
                uids.add(dashboard["uid"])
                variables = {variable["name"] for variable in dashboard["templating"]["list"]}
                ids = [panel["id"] for panel in dashboard["panels"]]
                self.assertEqual(len(ids), len(set(ids)))
                for panel in dashboard["panels"]:
                    if panel["type"] == "row":
                        continue
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}", panel["title"])
                    self.assertTrue(panel["targets"], panel["title"])
                    for target in panel["targets"]:
                        for variable in VARIABLE.findall(target["expr"]):
                            self.assertIn(variable.strip("${}"), variables, panel["title"])

    @unittest.skipUnless(PROMTOOL, "promtool cannot be had here")
    def test_queries_parse(self):
        rules = [
            {"record": f"q{number}", "expr": VARIABLE.sub("x", expression), "labels": {"panel": f"{name}: {panel}"}}
            for number, (name, panel, expression) in enumerate(queries())
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
            file.flush()
            done = subprocess.run([PROMTOOL, "check", "rules", file.name], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()

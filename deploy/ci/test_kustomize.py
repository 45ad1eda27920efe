"""kustomize installs what the chart installs."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

import yaml

import chart
import kustomize


class Kustomize(unittest.TestCase):
    def test_is_up_to_date(self):
        for path, content in kustomize.files().items():
            with self.subTest(path=path):
                self.assertEqual((kustomize.FOLDER / path).read_text(), content, "run deploy/render")

    def test_no_file_too_many(self):
        there = {str(path.relative_to(kustomize.FOLDER)) for path in kustomize.FOLDER.rglob("*.yaml")}
        self.assertEqual(there, set(kustomize.files()))

    def test_the_largest_overlay_has_the_objects_of_all(self):
        """By which a person removes an installation, whatever overlays were applied before."""
        objects = {name: {chart.identity(d) for d in chart.objects(chart.MATRIX[profile])} for name, profile in kustomize.OVERLAYS.items()}
        for name, there in objects.items():
            with self.subTest(overlay=name):
                self.assertLessEqual(there, objects["act"])

    def test_builds_the_same_objects(self):
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            self.skipTest("no kubectl")
        for name, profile in kustomize.OVERLAYS.items():
            built = subprocess.run([kubectl, "kustomize", kustomize.FOLDER / "overlays" / name], check=True, capture_output=True)
            found = {chart.identity(d): d for d in yaml.safe_load_all(built.stdout) if d and d["kind"] != "Namespace"}
            expected = {chart.identity(d): d for d in kustomize.clean(chart.objects(chart.MATRIX[profile]))}
            with self.subTest(overlay=name):
                self.assertEqual(found, expected)

    def test_components_switch_what_the_chart_switches(self):
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            self.skipTest("no kubectl")
        for name, values in kustomize.COMPONENTS.items():
            with tempfile.TemporaryDirectory(dir=kustomize.FOLDER) as folder:
                mine = {"resources": ["../overlays/act"], "components": [f"../components/{name}"]}
                (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(mine))
                built = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True)
            found = {chart.identity(d): d for d in yaml.safe_load_all(built.stdout) if d and d["kind"] != "Namespace"}
            expected = {chart.identity(d): d for d in kustomize.clean(chart.objects({**chart.MATRIX["full"], **values}))}
            with self.subTest(component=name):
                self.assertEqual(found, expected)

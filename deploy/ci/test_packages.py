"""The image and the kubectl plugin, as far as they can be looked at without a builder of images."""

import hashlib
import pathlib
import re
import subprocess
import tarfile
import tempfile
import unittest

import yaml

import chart

PROGRAMS = ("retile", "retile-controller", "retile-agent")
INCLUDE = re.compile(r'include_(?:str|bytes)!\(\s*"([^"]+)"')


class Image(unittest.TestCase):
    def setUp(self):
        self.text = (chart.DEPLOY / "container" / "Containerfile").read_text()

    def test_has_the_three_programs_where_the_chart_starts_them(self):
        for program in PROGRAMS:
            self.assertRegex(self.text, rf"cargo build --locked --release .*--bin {program};")
        self.assertIn("COPY --from=build /out/ /usr/local/bin/", self.text)
        for workload in chart.of_kind(chart.objects({}), "Deployment", "DaemonSet"):
            (command,) = workload["spec"]["template"]["spec"]["containers"][0]["command"]
            folder, _, program = command.rpartition("/")
            self.assertEqual(folder, "/usr/local/bin")
            self.assertIn(program, PROGRAMS)

    def test_is_built_by_the_toolchain_of_the_tree_on_the_base_it_runs_on(self):
        toolchain = re.search(r'channel = "([0-9.]+)"', (chart.ROOT / "rust-toolchain.toml").read_text()).group(1)
        major_minor = ".".join(toolchain.split(".")[:2])
        self.assertIn(f"rust:{major_minor}-bookworm", self.text)
        self.assertIn("cc-debian12:nonroot", self.text)
        self.assertNotIn("musl", self.text)
        self.assertRegex(self.text, r"(?m)^USER 65532")

    def test_a_build_sees_all_that_it_reads(self):
        lines = (chart.ROOT / ".containerignore").read_text().splitlines()
        ignored = {line for line in lines if line and not line.startswith(("#", "*"))}
        for source in (*(chart.ROOT / "src").rglob("*.rs"), *(chart.ROOT / "solver" / "src").rglob("*.rs")):
            for name in INCLUDE.findall(source.read_text()):
                path = (source.parent / name).resolve().relative_to(chart.ROOT)
                self.assertNotIn(path.parts[0], ignored, f"{source} reads {path}")
        manifest = (chart.ROOT / "Cargo.toml").read_text()
        members = re.search(r"members = \[(.*?)\]", manifest, re.S).group(1)
        for folder in ["tests", "benches", *re.findall(r'"([^"]+)"', members)]:
            self.assertNotIn(pathlib.PurePath(folder).parts[0], ignored)


class Krew(unittest.TestCase):
    def test_package(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            program = folder / "retile"
            program.write_text("#!/bin/sh\necho retile\n")
            program.chmod(0o755)
            platforms = ["linux/amd64", "darwin/arm64"]
            command = [chart.DEPLOY / "krew" / "package", folder / "out", "https://example.org/v/"]
            subprocess.run([*command, *(f"{platform}={program}" for platform in platforms)], check=True)
            manifest = yaml.safe_load((folder / "out" / "retile.yaml").read_text())
            self.assertEqual(manifest["kind"], "Plugin")
            self.assertIn(f'version = "{manifest["spec"]["version"].removeprefix("v")}"', (chart.ROOT / "Cargo.toml").read_text())
            found = manifest["spec"]["platforms"]
            self.assertEqual([f'{p["selector"]["matchLabels"]["os"]}/{p["selector"]["matchLabels"]["arch"]}' for p in found], platforms)
            for platform in found:
                archive = folder / "out" / platform["uri"].removeprefix("https://example.org/v/")
                self.assertEqual(hashlib.sha256(archive.read_bytes()).hexdigest(), platform["sha256"])
                with tarfile.open(archive) as packed:
                    names = {name.removeprefix("./") for name in packed.getnames()}
                    self.assertLessEqual({platform["bin"], "LICENSE"}, names)
                    self.assertTrue(packed.getmember("./" + platform["bin"]).mode & 0o111)

    def test_a_program_that_is_not_there_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [chart.DEPLOY / "krew" / "package", folder, "https://example.org", "linux/amd64=/nowhere/retile"]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("build it for linux/amd64 first", done.stderr)

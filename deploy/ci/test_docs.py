"""Pages link to pages and headings that exist."""

import re
import unittest

import chart

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```|    )")


def prose(path):
    """Lines outside code."""
    inside = False
    for line in path.read_text().splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside and not line.startswith("    "):
            yield line


def anchors(path):
    """As GitHub makes them from headings."""
    found = set()
    for line in prose(path):
        if line.startswith("#"):
            title = re.sub(r"[`*]", "", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def fields(schema):
    """Names of all fields of a schema, at any depth."""
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from fields(inner)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from fields(schema[key])


class Policy(unittest.TestCase):
    def test_the_pages_have_every_field(self):
        (crd,) = [
            crd
            for crd in chart.of_kind(chart.objects({}), "CustomResourceDefinition")
            if crd["spec"]["names"]["kind"] == "MigPolicy"
        ]
        pages = ("reference/custom-resources.md", "how-to/savings.md")
        page = "".join((chart.ROOT / "docs" / name).read_text() for name in pages)
        for version in crd["spec"]["versions"]:
            spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            known = set(fields(spec))
            self.assertIn("mode", known)
            for name in sorted(known):
                with self.subTest(field=name):
                    self.assertRegex(page, rf"\b{name}\b")


class Links(unittest.TestCase):
    def test_all_lead_somewhere(self):
        pages = sorted((chart.ROOT / "docs").rglob("*.md")) + [chart.ROOT / "README.md", chart.ROOT / "CONTRIBUTING.md"]
        for page in pages:
            for line in prose(page):
                for target in LINK.findall(line):
                    if "://" in target:
                        continue
                    name, _, anchor = target.partition("#")
                    path = (page.parent / name).resolve() if name else page
                    with self.subTest(page=str(page.relative_to(chart.ROOT)), target=target):
                        self.assertTrue(path.exists())
                        if anchor:
                            self.assertIn(anchor, anchors(path))

    def test_every_page_is_reached(self):
        listed = (chart.ROOT / "docs" / "README.md").read_text()
        for page in sorted((chart.ROOT / "docs").rglob("*.md")):
            name = str(page.relative_to(chart.ROOT / "docs"))
            with self.subTest(page=name):
                self.assertTrue(name == "README.md" or f"({name}" in listed or name.startswith("runbooks/"))

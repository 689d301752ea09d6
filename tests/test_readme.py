"""The README is true: its tree, its links, its commands."""

import re
from pathlib import Path

import pytest

from scripts.readme_tree import ROOT, with_tree
from sweeps.spec import parse_spec

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tree_has_a_line_for_every_module():
    """After adding a module: make tree."""
    text = (ROOT / "README.md").read_text()
    assert with_tree(text) == text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readmes_spec_is_a_spec():
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert parse_spec(text).seeds.count == 8


def test_every_make_target_the_readme_names_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text())
    assert set(named) <= set(targets)

"""What the published archive holds: everything a user needs, nothing a registry scan would flag."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLAGGED = re.compile(
    r"subprocess|os\.environ|requests\.get\(|\.connect\(|(?<![.\w])(exec|eval)\(|import_module|pickle\.load|urlopen|"
    r"os\.system"
)


def archive() -> list[Path]:
    """Tracked files that `.comfyignore` leaves in."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    rules = [r for r in (ROOT / ".comfyignore").read_text().split("\n") if r]

    def ignored(name: str) -> bool:
        parts = name.split("/")
        return any(
            any(fnmatch.fnmatch(part, rule.rstrip("/")) for part in (parts[:-1] if rule.endswith("/") else parts))
            for rule in rules
        )

    return [ROOT / name for name in tracked.stdout.splitlines() if not ignored(name)]


def test_development_files_stay_out() -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in archive()}
    assert not tops & {"tests", "scripts", "benchmarks", ".ci", "Makefile", "docs"}
    assert {"__init__.py", "nodes", "loaders", "sampling", "rewards", "training", "evaluation"} <= tops
    assert {
        "workflows",
        "subgraphs",
        "locales",
        "web",
        "assets",
        "requirements.txt",
        "pyproject.toml",
        "LICENSE",
        "README.md",
    } <= tops


def test_nothing_in_it_would_be_flagged() -> None:
    for path in archive():
        if path.suffix in (".py", ".js"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not FLAGGED.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def test_page_scripts_never_set_markup() -> None:
    for path in (ROOT / "web").rglob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", path.read_text()), path


def test_every_node_has_a_help_page_that_names_its_inputs(client) -> None:
    info = {n: i for n, i in client.get("/object_info").items() if n.startswith("Tastemaker")}
    assert set(info) == {folder.name for folder in (ROOT / "web" / "docs").iterdir()}
    for name, spec in info.items():
        page = (ROOT / "web" / "docs" / name / "en.md").read_text(encoding="utf-8")
        for part in ("required", "optional"):
            for widget in spec["input"].get(part, {}):
                assert widget in page, f"the help page of {name} does not mention {widget}"


def test_no_help_page_has_a_place_left_to_fill() -> None:
    for page in (ROOT / "web" / "docs").rglob("*.md"):
        lines = page.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", line.strip())] == [], page


def test_every_workflow_has_its_picture() -> None:
    graphs = sorted((ROOT / "workflows").glob("*.json"))
    assert {g.stem for g in graphs} >= {"best_of_batch", "unconditional"}
    for graph in graphs:
        json.loads(graph.read_text(encoding="utf-8"))
        assert graph.with_suffix(".jpg").stat().st_size > 2000


def test_embedded_weights_fit_their_limit() -> None:
    total = sum(p.stat().st_size for p in (ROOT / "assets").rglob("*") if p.is_file())
    assert total <= 25e6


def test_requirements_leave_torch_alone_and_pin_nothing() -> None:
    for line in (ROOT / "requirements.txt").read_text().split():
        assert not line.startswith(("torch", "numpy"))
        assert "==" not in line
        assert "<" not in line


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/engineers.md"])
def test_links_and_pictures_of_the_readme_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if not link.startswith(("http", "mailto")):
            assert ((ROOT / name).parent / link).exists(), f"{name} names {link}"


def _named_paths(text: str) -> set[str]:
    """Return what stands in code spans and looks like a file or folder of the repository."""
    spans = set(
        re.findall(r"`([\w.*<>-]+(?:/[\w.*<>-]*)+|\w+\.(?:py|js|md|toml))`", re.sub(r"```.*?```", "", text, flags=re.S))
    )
    here = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != ".cache"}
    return {span for span in spans if span.split("/")[0] in here or ("/" not in span and span.endswith(".py"))}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_and_folders_that_the_pages_name_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    files = {path.name for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    for span in _named_paths(text):
        there = span in files if "/" not in span else any(ROOT.glob(re.sub("<[^>]*>", "*", span).rstrip("/")))
        assert there, f"{name} names {span}"


def test_where_is_what_leads_to_definitions() -> None:
    """Each row of the table names a file and what is defined in it."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Where is what")[1].split("\n## ")[0]
    rows = re.findall(r"^\|[^|]+\| `([^`]+)` \| `(\w+)` \|$", table, re.MULTILINE)
    assert len(rows) == table.count("\n| ") - 1  # the heading
    for file, name in rows:
        defined = rf"^\s*(?:export )?(?:def|class|function) {name}\b|^(?:export const )?{name}\b.*="
        assert re.search(defined, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), f"{file} has no {name}"

"""The page's JavaScript without a page: its models tested by node, every module checked for what breaks an import."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

NODE = shutil.which("node")
MODULES = sorted((ROOT / "web").rglob("*.js"))
SUITES = sorted(Path(__file__).parent.glob("*.test.js"))
IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
HOSTS = ("scripts/app.js", "scripts/api.js")  # the page's own

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@needs_node
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_models(suite: Path) -> None:
    done = subprocess.run([NODE, "--test", str(suite)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counted = re.search(r"^\S* ?pass (\d+)", done.stdout, re.MULTILINE)
    assert counted, done.stdout
    assert int(counted[1]) >= suite.read_text(encoding="utf-8").count("\ntest(")


@needs_node
@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_it_can_be_read(module: Path) -> None:
    done = subprocess.run([NODE, "--check", str(module)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_what_it_imports_is_there_and_used(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    found = IMPORT.findall(text)
    assert len(found) == len(re.findall(r"^import\b", text, re.MULTILINE)), "an import of another form"
    for names, source in found:
        target = (module.parent / source).resolve()
        known = None
        if not source.endswith(HOSTS):
            assert target.is_file(), source
            known = EXPORT.findall(target.read_text(encoding="utf-8"))
        for name in (one.strip() for one in names.split(",")):
            assert known is None or name in known, f"{source} exports no {name}"
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is imported and not used"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_what_it_exports_is_used(module: Path) -> None:
    others = [path.read_text(encoding="utf-8") for path in [*MODULES, *SUITES] if path != module]
    for name in EXPORT.findall(module.read_text(encoding="utf-8")):
        assert any(re.search(rf"\b{name}\b", text) for text in others), f"nobody uses {name}"


def test_the_page_is_asked_by_names_that_it_keeps() -> None:
    """`selected_nodes` is deprecated; `checkState` only where the newer name is missing."""
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        assert "selected_nodes" not in text, module
        assert "checkState" not in text or "captureCanvasState" in text, module

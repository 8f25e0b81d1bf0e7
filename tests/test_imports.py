"""The house's rules: which room may import which, and what importing the pack may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# room -> rooms it may import (arrows point down only)
MAY_IMPORT = {
    "core": set(),
    "images": {"core"},
    "plots": {"core"},
    "loaders": {"core"},
    "sampling": {"loaders", "core"},
    "rewards": {"loaders", "images", "core"},
    "ranking": {"rewards", "images", "plots", "loaders", "core"},
    "taste": {"ranking", "rewards", "loaders", "images", "plots", "core"},
    "search": {"ranking", "rewards", "sampling", "loaders", "images", "plots", "core"},
    "training": {"taste", "ranking", "rewards", "sampling", "loaders", "images", "plots", "core"},
    "evaluation": {"ranking", "rewards", "sampling", "loaders", "images", "plots", "core"},
}
MAY_IMPORT["nodes"] = set(MAY_IMPORT)
HOST_MODULES = ("comfy", "folder_paths", "server", "execution", "nodes", "comfy_execution")


def _modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def _name(path: Path) -> str:
    """The dotted name of a file inside the package; of an `__init__.py` the package's."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {_name(path): path for room in MAY_IMPORT for path in _modules(room)}


def _imports(path: Path) -> list[tuple[int, str]]:
    """Return (level, dotted name) of every import in a file, those inside functions too.

    A relative import at any depth comes as level 1 and the dotted name from the package's root.
    """
    found = []
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((0, node.module or ""))
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - (node.level - 1)]
            base = ".".join((*above, *(node.module or "").split("."))).strip(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".strip(".")
                found.append((1, whole if whole in FILES else base))
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_the_rooms_below(room: str) -> None:
    paths = _modules(room)
    assert paths, f"{room} has no modules"
    for path in paths:
        for level, name in _imports(path):
            top = name.split(".")[0]
            assert not (level == 0 and top == "tastemaker"), f"{path}: imports must be relative"
            if level:
                assert top in MAY_IMPORT[room] | {room}, f"{path} imports {name}"


def test_relative_imports_are_resolved_at_any_depth() -> None:
    found = {name for level, name in _imports(ROOT / "loaders/folder/load.py") if level}
    assert {"core.errors", "loaders.folder.rules"} <= found


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one file (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for node in graph:
        if node not in index:
            visit(node)
    return circles


def test_circles_are_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_circle_of_files_exists() -> None:
    graph = {name: {n for level, n in _imports(path) if level and n in FILES} - {name} for name, path in FILES.items()}
    assert _circles(graph) == []


@pytest.mark.parametrize("room", [r for r in MAY_IMPORT if r != "nodes"])
def test_only_nodes_know_the_host(room: str) -> None:
    for path in _modules(room):
        for level, name in _imports(path):
            top = name.split(".")[0]
            assert not (level == 0 and (top in HOST_MODULES or top == "comfy_api")), f"{path} imports {name}"


def test_nodes_host_is_the_only_door() -> None:
    for path in _modules("nodes"):
        if path.parent.name == "host":
            continue
        for level, name in _imports(path):
            assert not (level == 0 and name.split(".")[0] in HOST_MODULES), f"{path} imports {name}"


HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "safetensors")


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (  # the last three are what nodes import
        "import sys, tastemaker, tastemaker.loaders, tastemaker.sampling, tastemaker.rewards, tastemaker.training, "
        "tastemaker.search, "
        "tastemaker.evaluation.protocols, tastemaker.evaluation.settings, tastemaker.search.grid.plan;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_of_the_design_exist() -> None:
    from tastemaker.loaders import load_diffusion_model
    from tastemaker.ranking import rank
    from tastemaker.rewards import Reward, load_reward
    from tastemaker.sampling import sample

    assert all(callable(f) for f in (load_diffusion_model, sample, load_reward, rank, Reward.__call__))


def test_python_source_is_ascii() -> None:
    for folder in (*MAY_IMPORT, "scripts", "tests", "benchmarks"):
        for path in _modules(folder):
            assert path.read_bytes().isascii(), path


def test_the_architecture_picture_is_that_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.architecture", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

"""The house's rules: which room may import which, and what importing the pack may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# room -> rooms it may import (design: arrows point down only)
MAY_IMPORT = {
    "loaders": set(),
    "sampling": {"loaders"},
    "rewards": {"loaders"},
    "training": {"sampling", "rewards", "loaders"},
    "evaluation": {"sampling", "rewards", "loaders"},
    "nodes": {"training", "evaluation", "sampling", "rewards", "loaders"},
}
HOST_MODULES = ("comfy", "folder_paths", "server", "execution", "nodes", "comfy_execution")


def _modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def _imports(path: Path) -> list[tuple[int, str]]:
    """(level, dotted name) of every import in a file, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.level, node.module or alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_the_rooms_below(room: str) -> None:
    paths = _modules(room)
    assert paths, f"{room} has no modules"
    for path in paths:
        for level, name in _imports(path):
            assert not (level == 0 and name.split(".")[0] == "tastemaker"), f"{path}: imports must be relative"
            if level == 2:
                other = name.split(".")[0]
                assert other in MAY_IMPORT[room] | {room}, f"{path} imports {other}"


@pytest.mark.parametrize("room", [r for r in MAY_IMPORT if r != "nodes"])
def test_only_nodes_know_the_host(room: str) -> None:
    for path in _modules(room):
        for level, name in _imports(path):
            top = name.split(".")[0]
            assert not (level == 0 and (top in HOST_MODULES or top == "comfy_api")), f"{path} imports {name}"


DOOR = ("host.py", "host_native.py")  # two wings: the running host, and its own models


def test_host_py_is_the_only_door() -> None:
    for path in _modules("nodes"):
        if path.name in DOOR:
            continue
        for level, name in _imports(path):
            assert not (level == 0 and name.split(".")[0] in HOST_MODULES), f"{path} imports {name}"


HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "safetensors")


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (
        "import sys, tastemaker, tastemaker.loaders, tastemaker.sampling, tastemaker.rewards, tastemaker.training, "
        "tastemaker.evaluation.protocols, tastemaker.evaluation.settings;"  # which nodes import
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_of_the_design_exist() -> None:
    from tastemaker.loaders import load_diffusion_model
    from tastemaker.rewards import Reward, load_reward, rank
    from tastemaker.sampling import sample

    assert all(callable(f) for f in (load_diffusion_model, sample, load_reward, rank, Reward.__call__))


def test_python_source_is_ascii() -> None:
    for folder in (*MAY_IMPORT, "scripts", "tests", "benchmarks"):
        for path in _modules(folder):
            assert path.read_bytes().isascii(), path

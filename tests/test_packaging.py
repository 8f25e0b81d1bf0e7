"""What `pip install` puts in place: every room, found and not listed, with its data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_imports import FILES

TREE = ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "__init__.py")
DATA = ("assets", "web", "workflows", "subgraphs", "locales")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tree, so that building leaves nothing in the repository."""
    copy = tmp_path_factory.mktemp("tree")
    for name in (*TREE, *DATA, *{file.split(".")[0] for file in FILES}):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(copy / "dist"), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))


def test_the_wheel_holds_every_module_and_nothing_of_development(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {f"tastemaker/{path.relative_to(ROOT).as_posix()}" for path in FILES.values()} | {"tastemaker/__init__.py"}
    assert wanted == {name for name in names if name.endswith(".py")}
    files = ("assets/tiny-sdxl/model_index.json", "assets/page/page.html", "web/ranking.js", "workflows/lora.json")
    for data in (*files, "locales/zh/nodeDefs.json"):
        assert f"tastemaker/{data}" in names


def test_every_module_imports_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    modules = [f"tastemaker.{name}" for name in FILES if not name.startswith("nodes") and "__main__" not in name]
    code = (
        "import importlib, sys\n"
        # an editable install's finder would come first
        "sys.meta_path = [f for f in sys.meta_path if not getattr(f, '__name__', '').startswith('_Editable')]\n"
        "import tastemaker; print(tastemaker.__file__)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)"
    )
    environment = {"PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": ""}
    command = [sys.executable, "-c", code, *modules]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path(done.stdout.split("\n")[0]).is_relative_to(tmp_path)

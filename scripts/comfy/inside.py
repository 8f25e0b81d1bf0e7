"""Use ComfyUI's own modules in this process, on the CPU, for checks that no server is needed for."""

from __future__ import annotations

import sys

from .locate import find


def enter() -> None:
    """Make `comfy` importable. Raises RuntimeError when there is no ComfyUI."""
    folder = find()
    if folder is None:
        raise RuntimeError("There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH.")
    sys.path.append(str(folder))
    from comfy.cli_args import args

    args.cpu = True
    args.disable_xformers = True

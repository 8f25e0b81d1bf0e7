"""The only door to ComfyUI: progress, cancel, previews, memory, folders, metadata.

Importing this module imports nothing of the host; its functions do, when the host runs a node.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..loaders.errors import InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

PREVIEW_SIDE = 512
_PREVIEW_SHARE = 0.1  # at most this part of the time goes into previews

# --- models and memory ------------------------------------------------------------------------

_patchers: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _patcher(owner: Any, modules: Mapping[str, nn.Module]) -> Any:
    """The host's handle for the modules of a model or reward: what it can move and free.

    The host cannot handle a diffusers module itself (its `device` has no setter), so the modules
    sit in a plain holder.
    """
    import comfy.model_management as memory
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    if owner not in _patchers:
        holder = nn.Module()
        for name, module in modules.items():
            holder.add_module(name, module)
        _patchers[owner] = ModelPatcher(holder, memory.get_torch_device(), memory.unet_offload_device())
    return _patchers[owner]


@contextmanager
def in_use(owner: Any, modules: Mapping[str, nn.Module], working_bytes: int = 0) -> Iterator[None]:
    """Put a model's modules where the host computes, for the length of a `with` block.

    Inside, `torch.inference_mode` is off: a module moved under it could never be trained.
    """
    import comfy.model_management as memory
    import torch

    with torch.inference_mode(False):
        if modules:
            memory.load_models_gpu([_patcher(owner, modules)], memory_required=working_bytes, force_full_load=True)
        yield


@contextmanager
def loading() -> Iterator[None]:
    """For code that makes modules: outside the inference mode the host runs nodes in."""
    import torch

    with torch.inference_mode(False):
        yield


def preferred_dtype() -> torch.dtype:
    """float16 where the host would use it, else float32."""
    import comfy.model_management as memory
    import torch

    device = memory.get_torch_device()
    return torch.float16 if memory.should_use_fp16(device) else torch.float32


# --- progress, cancel, previews ---------------------------------------------------------------


class Progress:
    """The node's progress bar. Updating it is also where a cancel takes effect."""

    def __init__(self, total: int) -> None:
        from comfy.utils import ProgressBar

        self._bar, self._total = ProgressBar(total), total
        self._next, self._cost = 0.0, 0.0

    def update(self, done: int, preview: Callable[[], Image.Image] | None = None) -> None:
        """Report progress; `preview` is made at most about a tenth of the time. May raise the cancel."""
        import comfy.model_management as memory

        memory.throw_exception_if_processing_interrupted()
        shown = None
        now = time.monotonic()
        if preview is not None and now >= self._next:
            shown = ("JPEG", preview(), PREVIEW_SIDE)
            cost = time.monotonic() - now
            self._next = time.monotonic() + max(cost / _PREVIEW_SHARE, 0.25)
        self._bar.update_absolute(done, self._total, shown)


# --- folders ----------------------------------------------------------------------------------


def model_folders() -> dict[str, Path]:
    """Diffusers model folders in the host's `models/diffusers`, by name, two levels deep."""
    import folder_paths

    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths("diffusers"):
        base = Path(root)
        for index in sorted([*base.glob("*/model_index.json"), *base.glob("*/*/model_index.json")]):
            found.setdefault(index.parent.relative_to(base).as_posix(), index.parent)
    return found


def output_place(filename_prefix: str, width: int, height: int) -> tuple[Path, str, int]:
    """Where to save under the output folder: (folder, file stem, counter).

    Raises InputError when the prefix is no file name or leads outside the output folder, by a
    symbolic link too.
    """
    import folder_paths

    check_prefix(filename_prefix)
    root = folder_paths.get_output_directory()
    # the host makes the folder, so where it would lead is checked before
    inside = os.path.realpath(os.path.join(root, os.path.dirname(filename_prefix)))
    real_root = os.path.realpath(root)
    if os.path.commonpath([inside, real_root]) != real_root:
        raise InputError("filename_prefix", filename_prefix, "It must stay inside the output folder.")
    try:
        folder, stem, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, root, width, height)
    except OSError as e:
        raise InputError("filename_prefix", filename_prefix, f"That folder cannot be used ({e}).") from e
    return Path(folder), stem, counter


_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(1, 10))}
_FORBIDDEN = set('<>:"|?*\\')


def check_prefix(prefix: str) -> None:
    """Raises InputError unless every part of a prefix is a plain file name on every system."""
    advice = "Use letters, digits, spaces, . _ - and / for sub-folders, at most 180 characters."
    parts = prefix.split("/")
    bad = not prefix or len(prefix) > 180 or not prefix.isprintable() or _FORBIDDEN & set(prefix)
    for part in parts:
        bad = bad or not part.strip(" .") or part.split(".")[0].strip().upper() in _RESERVED
        bad = bad or part != part.strip() or part.endswith(".")
    if bad:
        raise InputError("filename_prefix", prefix, advice)


def preview_entry(picture: Image.Image, name: str) -> dict[str, str]:
    """Write a picture to the host's temp folder and describe it as the page expects."""
    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tastemaker_{name}_{time.time_ns():x}.png"
    picture.save(path, compress_level=1)
    return {"filename": path.name, "subfolder": "", "type": "temp"}


def saved_entry(path: Path) -> dict[str, str]:
    """Describe a file under the output folder as the page expects."""
    import folder_paths

    folder = path.parent.relative_to(folder_paths.get_output_directory()).as_posix()
    return {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}


def workflow_metadata(hidden: Any) -> dict[str, Any]:
    """What the host writes into a PNG: `prompt` and `workflow`, unless the user switched it off."""
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    found: dict[str, Any] = {}
    if hidden.prompt:
        found["prompt"] = hidden.prompt
    found.update(hidden.extra_pnginfo or {})
    return found


def blocked(why: str) -> Any:
    """An output that stops the nodes behind it, and nothing else.

    The host shows a reason as an error on the node behind; an empty branch is no error, so the
    reason goes to the log.
    """
    import logging

    from comfy_execution.graph_utils import ExecutionBlocker

    logging.getLogger(__name__).info(why)
    return ExecutionBlocker(None)

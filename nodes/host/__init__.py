"""The door to ComfyUI: memory, folders, metadata. `progress.py` has its bar and cancel, `native.py` its own models.

Importing this module imports nothing of the host; its functions do, when the host runs a node.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, TastemakerError
from ...core.files import unwritable
from ...loaders.formats.precision import native_bfloat16
from .progress import HostProgress as HostProgress

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

# --- models and memory ------------------------------------------------------------------------

_PATCHER = "_tastemaker_patcher"


def _patcher(module: nn.Module) -> Any:
    """The host's handle for one module: what it can move and free.

    The host cannot handle a diffusers module itself (its `device` has no setter), so it sits in a
    plain holder. The handle is kept on the module, so that everybody who shares the module shares the
    handle, and both are forgotten together.
    """
    import comfy.model_management as memory
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    if _PATCHER not in module.__dict__:
        holder = nn.Module()
        holder.add_module("held", module)
        patcher = ModelPatcher(holder, memory.get_torch_device(), memory.unet_offload_device())
        module.__dict__[_PATCHER] = patcher
    return module.__dict__[_PATCHER]


@contextmanager
def in_use(modules: Iterable[nn.Module], working_bytes: int = 0) -> Iterator[None]:
    """Put modules where the host computes, for the length of a `with` block: the host's `Place`.

    `working_bytes` is what their work needs beside their weights; the host frees other models for it.
    Inside, `torch.inference_mode` is off: a module moved under it could never be trained.
    """
    import comfy.model_management as memory
    import torch

    with torch.inference_mode(False):
        patchers = [_patcher(module) for module in modules]
        if patchers:
            memory.load_models_gpu(patchers, memory_required=working_bytes, force_full_load=True)
        yield


@contextmanager
def loading() -> Iterator[None]:
    """For code that makes modules: outside the inference mode the host runs nodes in."""
    import torch

    with torch.inference_mode(False):
        yield


def compute_device() -> torch.device:
    """Where the host computes."""
    import comfy.model_management as memory

    return memory.get_torch_device()


def preferred_dtype(*, exact: bool = False) -> torch.dtype:
    """float16 where the host would use it; on a CPU that computes in bfloat16 by itself, that; else float32.

    `exact` asks for float32 on every CPU.
    """
    import comfy.model_management as memory
    import torch

    device = memory.get_torch_device()
    if memory.should_use_fp16(device):
        return torch.float16
    half = device.type == "cpu" and not exact and not getattr(memory, "FORCE_FP32", False) and native_bfloat16()
    return torch.bfloat16 if half else torch.float32


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


def safetensors_names(kind: str) -> list[str]:
    """The safetensors files in the host's `models/<kind>`, by the names the host gives them."""
    import folder_paths

    return [name for name in folder_paths.get_filename_list(kind) if name.lower().endswith(".safetensors")]


def safetensors_file(kind: str, name: str) -> Path | None:
    """Where a file of that list is; None for every other name."""
    import folder_paths

    path = folder_paths.get_full_path(kind, name) if name in safetensors_names(kind) else None
    return Path(path) if path else None


_REWARD_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")


def reward_folders() -> list[Path]:
    """The host's `models/rewards` folders. The host is told of them, with the endings that count, when asked first."""
    import folder_paths

    folder_paths.add_model_folder_path("rewards", os.path.join(folder_paths.models_dir, "rewards"))
    # a new kind of folder lists every file in it until it is told which
    folder_paths.folder_names_and_paths["rewards"][1].update(_REWARD_ENDINGS)
    return [Path(folder) for folder in folder_paths.get_folder_paths("rewards")]


def reward_files() -> list[str]:
    """The weight files in `models/rewards`, by the names the host gives them."""
    import folder_paths

    reward_folders()
    return [name for name in folder_paths.get_filename_list("rewards") if name.lower().endswith(_REWARD_ENDINGS)]


def reward_file(name: str) -> Path | None:
    """Where a file of that list is; None for every other name."""
    import folder_paths

    path = folder_paths.get_full_path("rewards", name) if name in reward_files() else None
    return Path(path) if path else None


MAX_LISTED_FOLDERS = 1000
_MAX_LISTED_DEPTH = 4


def picture_folders() -> list[str]:
    """The host's input and output folders and what is below them: `"output"`, `"output/portraits"`, ..."""
    import folder_paths

    roots = (("input", folder_paths.get_input_directory()), ("output", folder_paths.get_output_directory()))
    found = [kind for kind, _ in roots]
    row = [(kind, Path(root)) for kind, root in roots]
    for _ in range(_MAX_LISTED_DEPTH):
        below = []
        for name, folder in row:
            named = [(f"{name}/{entry}", folder / entry) for entry in _sub_folders(folder)]
            below += [pair for pair in named if _may_be_picked(pair[0])]
        row = below[: max(0, MAX_LISTED_FOLDERS - len(found))]
        found += [name for name, _ in row]
    return [found[0], *sorted(found[1:], key=str.casefold)]


def _sub_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder; links are left out."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _may_be_picked(name: str) -> bool:
    """Whether every part of a folder's name is a plain one, hidden by nobody, that a widget can show."""
    parts = name.split("/")
    plain = all(p and p.isprintable() and not p.startswith(".") and not _FORBIDDEN & set(p) for p in parts)
    return plain and len(name) <= 1000


def picture_folder(name: object) -> Path:
    """The folder that a name of that list stands for. Raises InputError.

    The host does not check what a widget holds, so nothing about the name is taken for granted here.
    """
    import folder_paths

    advice = "Pick one of the folders below ComfyUI's input or output folder."
    parts = name.split("/") if isinstance(name, str) and _may_be_picked(name) else [""]
    if parts[0] not in ("input", "output"):
        raise InputError("folder", name, advice)
    get = folder_paths.get_input_directory if parts[0] == "input" else folder_paths.get_output_directory
    root = os.path.realpath(get())
    folder = os.path.realpath(os.path.join(root, *parts[1:]))
    if os.path.commonpath([folder, root]) != root:
        raise InputError("folder", name, "A link there leads out of ComfyUI's folder, so it is not followed.")
    if not os.path.isdir(folder):
        raise InputError("folder", name, f"There is no such folder. {advice} Reload the page for new ones.")
    return Path(folder)


def score_cache() -> Path:
    """Where scores are remembered: a folder of the host's that its page cannot read."""
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "__tastemaker" / "scores.sqlite"


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
        raise InputError("filename_prefix", filename_prefix, f"That folder cannot be used ({unwritable(e)}).") from e
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


@contextmanager
def _into_temp() -> Iterator[None]:
    """Say in words what keeps a picture from the host's temp folder: a full disk, mostly."""
    try:
        yield
    except OSError as e:
        why = f"ComfyUI's temp folder cannot be written ({unwritable(e)})."
        raise TastemakerError(f"{why} Make room, or give the right to write; then run again.") from e


def preview_entry(picture: Image.Image, name: str) -> dict[str, str]:
    """Write a picture to the host's temp folder and describe it as the page expects."""
    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    path = folder / f"tastemaker_{name}_{time.time_ns():x}.png"
    with _into_temp():
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(path, compress_level=1)
    return {"filename": path.name, "subfolder": "", "type": "temp"}


def temp_picture(name: str, make: Callable[[], tuple[bytes, str]]) -> dict[str, str]:
    """A picture in the host's temp folder, as the page expects: written once by its name, whole or not at all.

    `make` gives the data and the extension; it is called only where no such file is.
    """
    import folder_paths

    from ...core.files import write_atomic

    folder = Path(folder_paths.get_temp_directory())
    stem = f"tastemaker_{name}"
    found = next((n for n in (f"{stem}.jpg", f"{stem}.png") if (folder / n).is_file()), None)
    if found is None:
        data, extension = make()
        found = f"{stem}.{extension}"
        with _into_temp():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / found, data, durable=False)  # the folder is emptied at every start
    return {"filename": found, "subfolder": "", "type": "temp"}


def view_entry(path: Path) -> dict[str, str] | None:
    """Describe a file for the page when the host would show it: under its input or output folder; else None."""
    import folder_paths

    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp", ".gif"):
        return None
    real = Path(os.path.realpath(path))
    for kind, root in (("input", folder_paths.get_input_directory()), ("output", folder_paths.get_output_directory())):
        base = Path(os.path.realpath(root))
        if real.is_relative_to(base) and real.is_file():
            folder = real.parent.relative_to(base).as_posix()
            return {"filename": real.name, "subfolder": "" if folder == "." else folder, "type": kind}
    return None


def saved_entry(path: Path) -> dict[str, str]:
    """Describe a file under the output folder as the page expects, whichever of the two was reached by a link."""
    import folder_paths

    root = os.path.realpath(folder_paths.get_output_directory())
    folder = Path(os.path.realpath(path.parent)).relative_to(root).as_posix()
    return {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}


def workflow_metadata(hidden: Any) -> dict[str, Any]:
    """What the host writes into a PNG: `prompt` and `workflow`, unless the user switched it off."""
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    found: dict[str, Any] = {}
    if hidden.prompt:
        found["prompt"] = hidden.prompt
    more = hidden.extra_pnginfo or {}
    if not isinstance(more, Mapping):
        raise InputError("extra_pnginfo", more, "What comes with the prompt must be a record of texts by name.")
    found.update(more)
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


# --- what is named: training runs, studies, evaluations ---------------------------------------

RUNS, STUDIES, EVALUATIONS = (f"tastemaker/{kind}" for kind in ("runs", "votes", "evaluations"))
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


def run_folder(run_name: str) -> Path:
    """The folder of a training run under the output folder; it need not exist yet.

    Raises InputError for what is no plain name, or leads outside through a symbolic link.
    """
    check_plain_name("run_name", run_name)
    return _inside_output("run_name", run_name, RUNS, run_name)


def study_file(study: object) -> Path:
    """The file of a study of votes under the output folder; it need not exist yet. Raises as `run_folder`."""
    check_plain_name("study", study)
    return _inside_output("study", study, STUDIES, f"{study}.sqlite")


def evaluations_folder(title: object = None, within: str = "") -> Path:
    """The folder of evaluations under the output folder, or of those of one title, or one within. Raises as above."""
    if title is None:
        return _inside_output("title", within or None, EVALUATIONS, within)
    check_plain_name("title", title)
    return _inside_output("title", title, EVALUATIONS, str(title))


def _inside_output(name: str, value: object, *parts: str) -> Path:
    """A place under the output folder. Raises InputError, for the input `name`, where a link leads out of it."""
    import folder_paths

    root = os.path.realpath(folder_paths.get_output_directory())
    path = os.path.realpath(os.path.join(root, *parts))
    if os.path.commonpath([path, root]) != root:
        raise InputError(name, value, "Its place must stay inside the output folder.")
    return Path(path)


def check_plain_name(name: str, value: object) -> None:
    """Raises InputError, for the input `name`, unless a value is a plain file name on every system."""
    plain = isinstance(value, str) and _RUN_NAME.fullmatch(value) and value[-1] not in " ."
    if not plain or str(value).split(".")[0].strip().upper() in _RESERVED:
        advice = "Letters, digits, spaces, . _ and -, a letter or digit first, at most 64 characters."
        raise InputError(name, value, advice)


def timeless_picture(name: str, make: Callable[[], tuple[bytes, str]]) -> dict[str, str]:
    """`temp_picture` whose file's time tells nothing: the host sends it along with the picture."""
    import folder_paths

    entry = temp_picture(name, make)
    os.utime(os.path.join(folder_paths.get_temp_directory(), entry["filename"]), (0, 0))
    return entry


def tell_page(event: str, message: Mapping[str, Any]) -> None:
    """Send a message to the page that queued the graph; does nothing without a server."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(event, dict(message), server.client_id)


def memory_gigabytes() -> float:
    """What the device that computes has in all; 0 for a CPU."""
    import comfy.model_management as memory

    device = memory.get_torch_device()
    return 0.0 if device.type == "cpu" else memory.get_total_memory(device) / 2**30

"""The only door to ComfyUI: progress, cancel, previews, memory, folders, metadata.

Importing this module imports nothing of the host; its functions do, when the host runs a node.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ..loaders.errors import InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

    from ..loaders import DiffusionModel

PREVIEW_SIDE = 512
_PREVIEW_SHARE = 0.1  # at most this part of the time goes into previews

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
    """Put modules where the host computes, for the length of a `with` block.

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


def place(model: DiffusionModel, names: Sequence[str], working_bytes: int) -> AbstractContextManager[None]:
    """`in_use` as `tastemaker.sampling.sample` asks for it."""
    return in_use([model.modules[name] for name in names], working_bytes)


@contextmanager
def loading() -> Iterator[None]:
    """For code that makes modules: outside the inference mode the host runs nodes in."""
    import torch

    with torch.inference_mode(False):
        yield


def preferred_dtype(*, exact: bool = False) -> torch.dtype:
    """float16 where the host would use it; on a CPU that computes in bfloat16 by itself, that; else float32.

    `exact` asks for float32 on every CPU.
    """
    import comfy.model_management as memory
    import torch

    device = memory.get_torch_device()
    if memory.should_use_fp16(device):
        return torch.float16
    half = device.type == "cpu" and not exact and not getattr(memory, "FORCE_FP32", False) and _native_bfloat16()
    return torch.bfloat16 if half else torch.float32


def _native_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16 by itself. Where it is emulated, it is slower than float32.

    oneDNN's own answer says so on ARM; on x86 it counts emulation too.
    """
    import platform

    import torch

    if platform.machine().lower() in ("aarch64", "arm64"):
        ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    else:
        ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask and ask())


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
            below += [(f"{name}/{entry}", folder / entry) for entry in _sub_folders(folder)]
        row = below[: max(0, MAX_LISTED_FOLDERS - len(found))]
        found += [name for name, _ in row]
    return [found[0], *sorted(found[1:], key=str.casefold)]


def _sub_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder; links and hidden ones are left out, and names no widget could show."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [name for name in names if not name.startswith(".") and name.isprintable() and "\\" not in name]


def picture_folder(name: object) -> Path:
    """The folder that a name of that list stands for. Raises InputError.

    The host does not check what a widget holds, so nothing about the name is taken for granted here.
    """
    import folder_paths

    advice = "Pick one of the folders below ComfyUI's input or output folder."
    parts = name.split("/") if isinstance(name, str) else []
    plain = all(p and p.isprintable() and not p.startswith(".") and not _FORBIDDEN & set(p) for p in parts)
    if not parts or parts[0] not in ("input", "output") or not plain or len(str(name)) > 1000:
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


def temp_picture(name: str, make: Callable[[], tuple[bytes, str]]) -> dict[str, str]:
    """A picture in the host's temp folder, as the page expects: written once by its name, whole or not at all.

    `make` gives the data and the extension; it is called only where no such file is.
    """
    import folder_paths

    from ..loaders.files import write_atomic

    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"tastemaker_{name}"
    found = next((n for n in (f"{stem}.jpg", f"{stem}.png") if (folder / n).is_file()), None)
    if found is None:
        data, extension = make()
        found = f"{stem}.{extension}"
        write_atomic(folder / found, data)
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


# --- training runs ----------------------------------------------------------------------------

RUNS = "tastemaker/runs"  # under the output folder
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


def run_folder(run_name: str) -> Path:
    """The folder of a training run under the output folder; it need not exist yet.

    Raises InputError for what is no plain name, or leads outside through a symbolic link.
    """
    import folder_paths

    plain = isinstance(run_name, str) and _RUN_NAME.fullmatch(run_name) and run_name[-1] not in " ."
    if not plain or run_name.split(".")[0].strip().upper() in _RESERVED:
        advice = "Letters, digits, spaces, . _ and -, a letter or digit first, at most 64 characters."
        raise InputError("run_name", run_name, advice)
    root = os.path.realpath(folder_paths.get_output_directory())
    folder = os.path.realpath(os.path.join(root, RUNS, run_name))
    if os.path.commonpath([folder, root]) != root:
        raise InputError("run_name", run_name, "Its folder must stay inside the output folder.")
    return Path(folder)


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


# --- the host's own models --------------------------------------------------------------------


class NativeStates(NamedTuple):
    """An SDXL model's state dicts by the names of its original files, encoders' with `text_model.`"""

    unet: Mapping[str, torch.Tensor]
    text: Mapping[str, torch.Tensor]
    text_2: Mapping[str, torch.Tensor]
    vae: Mapping[str, torch.Tensor]


class Native(NamedTuple):
    """What travels on the host's MODEL, CLIP and VAE wires."""

    model: Any
    clip: Any
    vae: Any


# The host copies the weights it is given, so who shares modules shares the copy, while it is on any
# wire: a clone of a MODEL keeps the one it was cloned from. Keys are weak references to the modules.
_natives: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()
_beside: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()


def native_model(
    owner: Sequence[nn.Module], prediction: str, zero_snr: bool, states: Callable[[], NativeStates]
) -> Native:
    """The host's models of an SDXL model's modules (UNet, text encoders, VAE, in this order).

    Raises InputError when the host does not know them, or would leave a weight out.
    """
    key = (*(ref(module) for module in owner), prediction, zero_snr)
    base = _natives.get(key)
    if base is None:
        parts = states()
        base = _native_unet(parts.unet, prediction, zero_snr)
        _beside[base] = (_native_clip(parts.text, parts.text_2), _native_vae(parts.vae))
        _natives[key] = base
    clip, vae = _beside[base]
    return Native(base.clone(), clip.clone(), vae)


def _native_unet(state: Mapping[str, torch.Tensor], prediction: str, zero_snr: bool) -> Any:
    import comfy.model_detection
    import comfy.sd
    import comfy.supported_models
    import torch
    from comfy.model_sampling import V_PREDICTION

    config = comfy.model_detection.model_config_from_unet(dict(state), "")
    if not isinstance(config, comfy.supported_models.SDXL):
        raise InputError("model", type(config).__name__, "ComfyUI does not know this UNet as SDXL, whatever its sizes.")
    # empty tensors of these names are how checkpoints say so
    marks = {"v_pred": prediction == "v_prediction", "ztsnr": zero_snr}
    marked = {name: torch.empty(0) for name, there in marks.items() if there}
    patcher = comfy.sd.load_diffusion_model_state_dict({**state, **marked})
    _check_whole("UNet", state, patcher.model.diffusion_model.state_dict())
    if isinstance(patcher.model.model_sampling, V_PREDICTION) != marks["v_pred"]:
        raise InputError("model", prediction, "This version of ComfyUI does not take the model's prediction type.")
    return patcher


def _native_clip(text: Mapping[str, torch.Tensor], text_2: Mapping[str, torch.Tensor]) -> Any:
    import comfy.sd

    kind = comfy.sd.CLIPType.STABLE_DIFFUSION
    clip = comfy.sd.load_text_encoder_state_dicts([dict(text), dict(text_2)], clip_type=kind)
    encoders = clip.cond_stage_model
    loaded = {k: v for k, v in encoders.clip_l.transformer.state_dict().items() if k != "text_projection.weight"}
    _check_whole("text encoder", text, loaded)
    _check_whole("text encoder 2", text_2, encoders.clip_g.transformer.state_dict())
    return clip


def _native_vae(state: Mapping[str, torch.Tensor]) -> Any:
    import comfy.sd
    from comfy.diffusers_convert import convert_vae_state_dict

    converted = convert_vae_state_dict(dict(state))
    vae = comfy.sd.VAE(sd=dict(converted))
    _check_whole("VAE", converted, vae.first_stage_model.state_dict())
    return vae


def _check_whole(what: str, given: Mapping[str, torch.Tensor], loaded: Mapping[str, torch.Tensor]) -> None:
    """The host only logs what it leaves out; a model that lost weights would paint noise."""
    odd = sorted(set(given) ^ set(loaded)) or sorted(k for k in given if given[k].shape != loaded[k].shape)
    if odd:
        shown = ", ".join(odd[:5])
        raise InputError("model", shown, f"ComfyUI's own {what} has other weights than this model's, so it is refused.")


def native_lora(native: Native, state: dict[str, torch.Tensor], strength: float, strength_text: float) -> Native:
    """The same models with a kohya LoRA as the host's patches: no weight is copied or changed.

    Raises InputError when the host knows fewer layers than there are.
    """
    import comfy.lora

    model, clip = native.model.clone(), native.clip.clone()
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    names = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, names)
    patches = comfy.lora.load_lora(state, names)
    count = sum(key.endswith(".lora_up.weight") for key in state)
    taken = {*model.add_patches(patches, strength), *clip.add_patches(patches, strength_text)}
    if len(taken) != count:
        raise InputError("model", f"{len(taken)} of {count}", "ComfyUI does not take all layers of the model's LoRA.")
    return Native(model, clip, native.vae)

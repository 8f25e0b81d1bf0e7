"""The same model loaded by us and by diffusers, and the picture that each makes of it: few steps, small.

Where memory is short, weights stay float16 and are widened while they compute, on both sides: a 7 GB model then takes
10 GB, and the numbers are still those of float32. Ours and theirs are never in memory together.
"""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from scripts.comfy.locate import ROOT

from .check import Settings
from .found import diffusers_folders, weight_files

PROMPT, SEED, STEPS, GUIDANCE = "a red fox on a green hill", 3, 2, 5.0
SIDE = 128  # pixels
PIPELINES = {"sdxl": "StableDiffusionXLPipeline", "refiner": "StableDiffusionXLImg2ImgPipeline", "ddpm": "DDPMPipeline"}
_ROOM = 4e9  # bytes beside the weights: pictures, text, the loaders' own
_TURNED = "conditioner.embedders.1.model.text_projection.weight"


class Precision(NamedTuple):
    """What weights are kept in, and whether they are widened to float32 while they compute."""

    stored: torch.dtype
    widened: bool


def precision(path: Path, settings: Settings) -> Precision:
    """Keep float32 where there is room for it, else float16."""
    if settings.dtype == "float16":
        return Precision(torch.float16, False)
    numbers = sum(file.stat().st_size / _bytes_each(file) for file in chosen_files(path))
    short = settings.spare or numbers * 4 * 1.15 + _ROOM > free_bytes(settings.device)
    return Precision(torch.float16 if short else torch.float32, short)


def chosen_files(path: Path) -> list[Path]:
    """Return the weight files of a model, one for each part where a folder has several forms of it."""
    if path.is_file():
        return [path]
    parts: dict[Path, Path] = {}
    for file in weight_files(path):
        if file.parent != path or not (path / "unet").is_dir():  # single files may lie in the folder
            parts.setdefault(file.parent, file)
    return list(parts.values())


def _bytes_each(file: Path) -> int:
    if file.suffix != ".safetensors":
        return 4
    from tastemaker.loaders.formats.header import read_header

    numbers = sum(torch.Size(shape).numel() for shape in read_header(file).shapes.values())
    return max(1, round(file.stat().st_size / max(1, numbers)))


def free_bytes(device: str) -> float:
    """Return what is free, on a GPU and where the weights are read first: the smaller of both."""
    import psutil

    free = float(psutil.virtual_memory().available)
    return min(free, float(torch.cuda.mem_get_info(device)[0])) if device.startswith("cuda") else free


def widen(module: nn.Module) -> nn.Module:
    """Let a float16 UNet compute in float32: norms are float32, other layers are widened while they run."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm | nn.LayerNorm):
            part.float()
    module.enable_layerwise_casting(torch.float16, torch.float32, skip_modules_pattern=())
    return module


# --- ours -------------------------------------------------------------------------------------


def load_ours(path: Path, how: Precision, settings: Settings) -> Any:
    """Load our model; its VAE and widened text encoders are float32."""
    from tastemaker.loaders import DiffusionModel, load_diffusion_model

    model = load_diffusion_model(path, dtype=how.stored)  # on the CPU, where the VAE is always float32
    if how.widened:

        class Widened(DiffusionModel):
            dtype = property(lambda self: torch.float32)  # what its UNet computes in

        model = Widened(**{field.name: getattr(model, field.name) for field in fields(model)})
        for name in model.text_encoders:
            model.modules[name].float()
        widen(model.unet)
    for module in model.modules.values():
        module.to(settings.device)
    return model


def our_picture(model: Any, **changes: Any) -> torch.Tensor:
    """Return (1, H, W, 3) in [0, 1]."""
    from tastemaker.sampling import SampleOptions, sample

    call: dict[str, Any] = {"scheduler": "model default", "steps": STEPS, "seeds": [SEED]}
    call |= {"options": SampleOptions(at_once=1), **changes}
    return (sample(model, PROMPT, **call) if model.conditional else sample(model, **call)).images


# --- theirs -----------------------------------------------------------------------------------


def variant(path: Path, how: Precision) -> str | None:
    """Return "fp16" where a folder's UNet has such a file and it is wanted, or is the only one."""
    names = [file.name for file in weight_files(path) if file.parent.name == "unet" and file.suffix == ".safetensors"]
    plain = any(".fp16." not in name for name in names)
    return "fp16" if any(".fp16." in n for n in names) and (how.stored == torch.float16 or not plain) else None


def pipeline_of(path: Path, how: Precision, settings: Settings, kind: str) -> Any:
    """Load a folder with diffusers' from_pretrained."""
    import diffusers

    half = how.stored == torch.float16 and not how.widened  # the VAE is then widened by diffusers itself
    dtypes = {"default": how.stored, "vae": torch.float16 if half else torch.float32}
    options = {"torch_dtype": dtypes, "local_files_only": True, "variant": variant(path, how)}
    if kind == "ddpm":
        safe = any(file.suffix == ".safetensors" for file in weight_files(path))
        options |= {"torch_dtype": torch.float32, "use_safetensors": safe}
    elif kind == "sdxl":
        options["add_watermarker"] = False
    pipeline = getattr(diffusers, PIPELINES[kind]).from_pretrained(path, **options)
    return ready(pipeline, how, settings)


def ready(pipeline: Any, how: Precision, settings: Settings) -> Any:
    pipeline.watermark = None
    if how.widened:
        for name in ("text_encoder", "text_encoder_2", "vae"):
            if getattr(pipeline, name, None) is not None:
                getattr(pipeline, name).float()
        widen(pipeline.unet)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(settings.device)


@contextmanager
def config_folder(path: Path, settings: Settings) -> Iterator[Path]:
    """Give a folder whose configs describe a single file: one in models/diffusers, or SDXL base's as published."""
    from tastemaker.loaders.formats.header import read_header

    shapes = read_header(path).shapes
    for folder in diffusers_folders(settings.models, PIPELINES["sdxl"]):
        if _describes(folder, shapes):
            yield folder
            return
    with tempfile.TemporaryDirectory() as made:
        base = Path(made) / "sdxl-base-1.0"
        shutil.copytree(ROOT / "tests" / "official" / "files" / "sdxl-base-1.0", base)
        for name in ("tokenizer", "tokenizer_2"):
            for file in ("vocab.json", "merges.txt"):
                shutil.copy(ROOT / "assets" / "clip-tokenizer" / file, base / name / file)
        if not _describes(base, shapes):
            raise ValueError("no diffusers folder in models/diffusers has the sizes of this file, nor has SDXL base")
        yield base


def _describes(folder: Path, shapes: dict[str, tuple[int, ...]]) -> bool:
    try:
        unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        first, added = unet["block_out_channels"][0], unet["projection_class_embeddings_input_dim"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False
    conv = shapes.get("model.diffusion_model.input_blocks.0.0.weight", ())
    linear = shapes.get("model.diffusion_model.label_emb.0.0.weight", ())
    return conv[:1] == (first,) and linear[1:] == (added,)


def pipeline_of_file(path: Path, how: Precision, settings: Settings, scheduler: dict[str, Any]) -> Any:
    """Load a single file with diffusers' from_single_file; single files hold no scheduler, so ours is given."""
    import diffusers

    from tastemaker.loaders.formats.header import read_header

    with config_folder(path, settings) as folder:
        pipeline = diffusers.StableDiffusionXLPipeline.from_single_file(
            str(path), config=str(folder), local_files_only=True, torch_dtype=how.stored, add_watermarker=False
        )
    if _TURNED in read_header(path).shapes:  # diffusers #6183: it reads this name as the matrix it is not
        weight = pipeline.text_encoder_2.text_projection.weight
        weight.data = weight.data.T.contiguous()
    pipeline.scheduler = getattr(diffusers, scheduler["_class_name"]).from_config(scheduler)
    return ready(pipeline, how, settings)


def their_picture(pipeline: Any, latents: torch.Tensor | None = None, **changes: Any) -> torch.Tensor:
    """Return (1, H, W, 3) in [0, 1]."""
    call: dict[str, Any] = {"num_inference_steps": STEPS, "generator": torch.Generator().manual_seed(SEED), **changes}
    if latents is not None:
        call["image"] = latents.to(pipeline.device)
    with torch.no_grad():
        images = pipeline(**call).images
    if isinstance(images, torch.Tensor):
        images = images.permute(0, 2, 3, 1)
    return torch.as_tensor(images).float().cpu()


def free() -> None:
    """Give the memory of what is no longer used back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Diffusion models against diffusers' own pipelines: the same weights, seeds and noise."""

from __future__ import annotations

from pathlib import Path

import torch

from .check import Measured, Settings
from .found import diffusers_folders, places
from .pipelines import (
    GUIDANCE,
    PIPELINES,
    PROMPT,
    SIDE,
    STEPS,
    Precision,
    free,
    load_ours,
    our_picture,
    pipeline_of,
    pipeline_of_file,
    precision,
    their_picture,
)

# of pictures in [0, 1]. On a CPU what the README promises; a GPU's kernels may differ from run to run, and float16 has
# 11 bits (3.4e-3 measured on a small model on a CPU). The GPU's two are not measured yet.
TOLERANCE = {("cpu", "float32"): 1e-5, ("gpu", "float32"): 1e-4, ("cpu", "float16"): 2e-2, ("gpu", "float16"): 2e-2}
_CALL = {"height": SIDE, "width": SIDE, "guidance_scale": GUIDANCE}


def base_models(models: Path) -> list[Path]:
    """Return SDXL folders, then SDXL single files."""
    from tastemaker.loaders.single_file.identify import SDXL

    return [*diffusers_folders(models, PIPELINES["sdxl"]), *single_files(models, SDXL)]


def single_files(models: Path, *kinds: str) -> list[Path]:
    """Return the checkpoints that are of these kinds by their headers: SDXL's architecture and its refiner's."""
    from tastemaker.loaders.single_file.identify import REFINER, SDXL

    return [path for path, kind in _checkpoints(models) if kind in (kinds or (SDXL, REFINER))]


def other_checkpoints(models: Path) -> list[str]:
    """Return what else lies in models/checkpoints, in words."""
    from tastemaker.loaders.single_file.identify import REFINER, SDXL

    return [f"{path.name} ({kind})" for path, kind in _checkpoints(models) if kind not in (SDXL, REFINER)]


def _checkpoints(models: Path) -> list[tuple[Path, str]]:
    from tastemaker.core.errors import TastemakerError
    from tastemaker.loaders.single_file.identify import identify

    found = []
    for place in places(models / "checkpoints"):
        if place.suffix in (".safetensors", ".ckpt") and place.is_file():
            try:
                found.append((place, identify(place)))
            except TastemakerError as e:
                found.append((place, str(e)))
    return found


def compared(mine: torch.Tensor, theirs: torch.Tensor, how: Precision, settings: Settings, *notes: str) -> Measured:
    """Measure the largest difference of two pictures in [0, 1]."""
    place = "gpu" if settings.device != "cpu" else "cpu"
    tolerance = TOLERANCE[place, settings.dtype]
    wrong = ""
    if mine.shape != theirs.shape:
        return Measured(None, tolerance, "of a picture in [0, 1]", f"sizes {mine.shape} and {theirs.shape}", notes)
    if not float(theirs.std()) > 1e-3:
        wrong = "diffusers' picture is of one colour or NaN: it compares nothing"
    kept = "weights kept in float16, computed in float32" if how.widened else f"{settings.dtype} throughout"
    apart = float((mine - theirs).abs().max())
    return Measured(apart, tolerance, "of a picture in [0, 1]", wrong, (kept, f"{place}, {STEPS} steps", *notes))


def folder(path: Path, settings: Settings) -> Measured:
    """Compare an SDXL folder (Playground v2, SDXL base and their kin) with from_pretrained."""
    how = precision(path, settings)
    model = load_ours(path, how, settings)
    mine = our_picture(model, **_CALL)
    del model
    free()
    theirs = their_picture(pipeline_of(path, how, settings, "sdxl"), prompt=PROMPT, output_type="pt", **_CALL)
    return compared(mine, theirs, how, settings)


def refiner_folder(path: Path, settings: Settings) -> Measured:
    """Compare an SDXL refiner's folder, from the same latents, with from_pretrained."""
    how = precision(path, settings)
    model = load_ours(path, how, settings)
    start = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))
    mine = our_picture(model, latents=start, denoise=0.5, guidance_scale=GUIDANCE)
    del model
    free()
    pipeline = pipeline_of(path, how, settings, "refiner")
    call = {"prompt": PROMPT, "strength": 0.5, "num_inference_steps": 2 * STEPS, "guidance_scale": GUIDANCE}
    theirs = their_picture(pipeline, start, output_type="pt", **call)
    return compared(mine, theirs, how, settings)


def ddpm_folder(path: Path, settings: Settings) -> Measured:
    """Compare an unconditional DDPM's folder with from_pretrained."""
    how = Precision(torch.float32, False)
    settings = Settings(settings.models, settings.device)
    model = load_ours(path, how, settings)
    mine = our_picture(model)
    del model
    free()
    theirs = their_picture(pipeline_of(path, how, settings, "ddpm"), output_type="np")
    return compared(mine, theirs, how, settings)


def single_file(path: Path, settings: Settings) -> Measured:
    """Compare an SDXL single file with from_single_file."""
    from tastemaker.loaders.single_file.identify import REFINER, identify

    if identify(path) == REFINER:
        return alone(path, settings)
    how = precision(path, settings)
    model = load_ours(path, how, settings)
    scheduler = dict(model.scheduler_config)
    mine = our_picture(model, **_CALL)
    del model
    free()
    pipeline = pipeline_of_file(path, how, settings, scheduler)
    theirs = their_picture(pipeline, prompt=PROMPT, output_type="pt", **_CALL)
    notes = ("configs from a diffusers folder, scheduler as ours: single files hold neither",)
    return compared(mine, theirs, how, settings, *notes)


def alone(path: Path, settings: Settings) -> Measured:
    """Load a refiner file and run it: diffusers cannot read its one text encoder from a single file."""
    how = precision(path, settings)
    model = load_ours(path, how, settings)
    start = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))
    image = our_picture(model, latents=start, denoise=0.5, guidance_scale=GUIDANCE)
    bad = not bool(torch.isfinite(image).all()) or not float(image.std()) > 1e-3
    why = "diffusers cannot read a lone refiner's text encoder from a single file"
    return Measured(None, None, "", "the picture is of one colour or NaN" if bad else "", (why,))

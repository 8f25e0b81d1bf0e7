"""A LoRA of each kind: it loads, it changes the picture, and diffusers reads it the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from .check import Measured, Settings
from .diffusion import base_models
from .found import places
from .pipelines import (
    GUIDANCE,
    PROMPT,
    SIDE,
    free,
    load_ours,
    our_picture,
    pipeline_of,
    pipeline_of_file,
    precision,
    their_picture,
)

# of what the LoRA changes in the picture, by what weights are kept in and whether they are widened (`Precision`):
# kept in float16 the sum of weights is rounded once more, and float16 throughout every step is
TOLERANCE = {(torch.float32, False): 1e-3, (torch.float16, True): 0.02, (torch.float16, False): 0.1}
MOVES = 1e-4
_CALL = {"height": SIDE, "width": SIDE, "guidance_scale": GUIDANCE}


def one_of_each_kind(models: Path) -> list[Path]:
    """Return the first file of each set of tensor endings, those of other models left out."""
    from tastemaker.core.errors import TastemakerError
    from tastemaker.loaders.formats.header import read_header
    from tastemaker.loaders.lora.keys import parse_key
    from tastemaker.loaders.lora.origin import origin_of_layers, origin_of_names

    found: dict[frozenset[str], Path] = {}
    for place in places(models / "loras"):
        if place.suffix != ".safetensors" or not place.is_file():
            continue
        try:
            shapes = read_header(place).shapes
        except TastemakerError:
            shapes = {}  # the check says what it is
        named = {name: key for name in shapes if (key := parse_key(name))}
        widths = {key.flat: shapes[name][1] for name, key in named.items() if len(shapes[name]) > 1}
        if origin_of_names(shapes) or origin_of_layers(widths) not in (None, "SDXL"):
            continue
        found.setdefault(frozenset(f"{key.component[:1]}.{key.part}" for key in named.values()), place)
    return list(found.values())


def lora(path: Path, settings: Settings) -> Measured:
    from tastemaker.loaders import read_lora, with_lora
    from tastemaker.loaders.formats.header import read_header

    added = read_lora(path)
    bases = base_models(settings.models)
    if not bases:
        why = "no SDXL model in models/diffusers or models/checkpoints to put it on"
        return Measured(None, None, "", "", (*added.summary().splitlines(), why))
    base = bases[0]
    how = precision(base, settings)
    model = load_ours(base, how, settings)
    scheduler = dict(model.scheduler_config)
    without = our_picture(model, **_CALL)
    mine = our_picture(with_lora(model, added), **_CALL)
    del model
    free()
    moved = float((mine - without).abs().max())
    notes = (*added.summary().splitlines(), f"on {base.name}, it moves the picture by up to {moved:.3g}")
    wrong = "" if moved > MOVES else f"it moves the picture by {moved:.3g} only"
    if importlib.util.find_spec("peft") is None:
        return Measured(None, None, "", wrong, (*notes, "peft is not installed: diffusers loads no LoRA without it"))
    if any(name.endswith(".dora_scale") for name in read_header(path).shapes):
        why = "diffusers leaves dora_scale out and computes a plain LoRA"
        return Measured(None, None, "", wrong, (*notes, why))
    if base.is_dir():
        pipeline = pipeline_of(base, how, settings, "sdxl")
    else:
        pipeline = pipeline_of_file(base, how, settings, scheduler)
    try:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, local_files_only=True)
    except Exception as e:  # what diffusers raises for kinds it does not read differs from version to version
        why = f"diffusers does not read this kind ({type(e).__name__}: {str(e)[:120]})"
        return Measured(None, None, "", wrong, (*notes, why))
    theirs = their_picture(pipeline, prompt=PROMPT, output_type="pt", **_CALL)
    share = float((mine - theirs).abs().max()) / max(moved, MOVES)
    return Measured(share, TOLERANCE[how], "of what it moves", wrong, notes)

"""Which model a LoRA was made for, from the names and widths in it, so that a refusal can say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# what a name holds -> the model it is of; the first that matches counts. Names are those of the trainers: kohya's
# sd-scripts, OneTrainer, diffusers and ComfyUI, with dots or underscores.
_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (model, re.compile(pattern))
    for model, pattern in (
        ("FLUX", r"(double|single)_blocks[._]\d+[._](img|txt|linear|modulation)|single_transformer_blocks[._]\d"),
        ("Stable Diffusion 3", r"joint_blocks[._]\d|transformer_blocks[._]\d+[._]attn[._]add_[qkv]_proj"),
        ("Stable Cascade", r"lora_prior_(unet|te)_|clip_txt_mapper"),
        ("Wan", r"\b(diffusion_model|transformer|lora_unet)[._]blocks[._]\d+[._](self_attn|cross_attn|ffn)"),
        ("Qwen-Image", r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)"),
        ("Lumina 2 or Z-Image", r"(noise|context)_refiner[._]\d|\blayers[._]\d+[._](attention|feed_forward)"),
        ("a model with a T5 text encoder", r"\blora_te3_|\btext_encoders?[._](t5|3)"),
        ("AnimateDiff", r"(motion_modules|temporal_transformer)[._]"),
        ("Stable Diffusion 1 or 2", r"\blora_te_"),
        ("a model with a transformer in place of the UNet", r"\b(lora_)?transformer[._]"),
    )
)
_CONTEXT = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "the SDXL refiner", 2048: "SDXL"}
_ATTENDING_FIRST = re.compile(r"down_blocks_0_attentions_|input_blocks_1_1_|up_blocks_3_attentions_|output_blocks_9_1_")


def origin_of_names(names: Iterable[str]) -> str | None:
    """Return the model that a file's keys are of where it is none of SDXL's kind; None when they do not tell."""
    names = list(names)
    return next((model for model, pattern in _NAMES if any(pattern.search(name) for name in names)), None)


def origin_of_layers(widths: Mapping[str, int]) -> str | None:
    """Return the model that a UNet's layers are of; None when they do not tell.

    `widths` has the inputs of each layer by flat name. Keys and values of the cross-attention read the text,
    whose width differs from model to model; only Stable Diffusion 1 and 2 attend at the first resolution.
    """
    for flat, width in widths.items():
        if flat.endswith(("_attn2_to_k", "_attn2_to_v")) and width in _CONTEXT:
            return _CONTEXT[width]
    return "Stable Diffusion 1 or 2" if any(_ATTENDING_FIRST.search(flat) for flat in widths) else None

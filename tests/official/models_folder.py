"""A ComfyUI models folder of made-up official files in small width, for the checks of scripts/acceptance."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import torch

from tastemaker.loaders.lora.state import lora_state
from tests.loaders.lora_files import random_layers, write
from tests.official.make import write_file, write_folder
from tests.official.manifest import MODELS
from tests.rewards.official_files import aesthetic_folder, blip_folder, clip_folder, imagereward_folder, small_clip

BY_NAME = {official.name: official for official in MODELS}


def write_rewards(folder: Path) -> Path:
    """ImageReward and BLIP, LAION's head as published, CLIP and PickScore in models/rewards."""
    folder.mkdir(parents=True)
    imagereward_folder(folder)
    blip_folder(folder)
    aesthetic_folder(folder, *small_clip("quick_gelu", projection_dim=768))
    pick, config = small_clip()
    pick.logit_scale.data.fill_(math.log(100))
    clip_folder(folder / "PickScore_v1", pick, config)
    return folder


def write_inception(path: Path, given: Path) -> Path:
    """The official name and format, which is older than PyTorch 1.6."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = torch.load(given, weights_only=True)
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=False)
    return path


def write_diffusion(models: Path) -> Path:
    """Playground v2 and a DDPM as folders, SDXL base as a folder in a sub-folder and as a file."""
    base = BY_NAME["stable-diffusion-xl-base-1.0"]
    for name in ("playground-v2-1024px-aesthetic", "ddpm-cat-256"):
        (models / "diffusers").mkdir(parents=True, exist_ok=True)
        write_folder(BY_NAME[name], models / "diffusers" / name)
    (models / "checkpoints" / "sdxl").mkdir(parents=True)
    write_file(BY_NAME["sd_xl_base_1.0.safetensors"], models / "checkpoints" / "sdxl", base)
    return models


def write_lora(path: Path, folder: Path) -> Path:
    """A LoRA in kohya's names for the attention of the UNet in a diffusers folder."""
    from tastemaker.loaders import load_diffusion_model

    model = load_diffusion_model(folder)
    paths = [("unet", name) for name, _ in model.unet.named_modules() if name.endswith(("to_q", "to_v"))]
    return write(path, lora_state(random_layers(model, paths, size=2.0)))

"""Small checkpoints in the original SDXL layout, made on the spot, and the folders they equal.

The sizes are written out here by hand, in diffusers' terms, over the published configs: what the loader derives
from shapes must come to the same.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from scripts.full_size import official
from scripts.full_size.official import build, original_state
from tastemaker.loaders.layout.configs import SDXL_SCHEDULER
from tests.conftest import ROOT

__all__ = ["CLIP_G", "CLIP_L", "REFINER_UNET", "UNET", "VAE", "modules", "original_state", "save", "save_folder"]

UNET = official.BASE_UNET | {
    "block_out_channels": [64, 128, 192],
    "transformer_layers_per_block": [1, 1, 2],
    "attention_head_dim": [1, 2, 3],
    "cross_attention_dim": 192,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 128 + 6 * 32,
}
REFINER_UNET = official.REFINER_UNET | {
    "block_out_channels": [64, 128, 192, 192],
    "transformer_layers_per_block": 2,
    "attention_head_dim": [1, 2, 3, 3],
    "cross_attention_dim": 128,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 128 + 5 * 32,
}
VAE = official.VAE | {
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [32, 64, 64],
}
CLIP_L = official.CLIP_L | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "projection_dim": 64,
}
CLIP_G = official.CLIP_G | {
    "hidden_size": 128,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "projection_dim": 128,
}

State = dict[str, torch.Tensor]


def modules(*, refiner: bool = False) -> dict[str, torch.nn.Module]:
    """The modules of a small SDXL, or of a small refiner, with random weights that are always the same."""
    parts = {"unet": REFINER_UNET if refiner else UNET, "vae": VAE, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G}
    if refiner:
        del parts["text_encoder"]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        made = build(parts)
        for module in made.values():
            for parameter in module.parameters():  # biases and norms are 0 and 1 otherwise: swaps would not show
                torch.nn.init.normal_(parameter, std=0.05)
    return {name: module.eval().requires_grad_(False) for name, module in made.items()}


def save(state: State, path: Path) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return path


def save_folder(made: dict[str, torch.nn.Module], folder: Path) -> Path:
    """The same model as a diffusers folder."""
    refiner = "text_encoder" not in made
    index: dict[str, object] = {
        "_class_name": "StableDiffusionXLImg2ImgPipeline" if refiner else "StableDiffusionXLPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": [None, None] if refiner else ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": [None, None] if refiner else ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "force_zeros_for_empty_prompt": not refiner,
    }
    if refiner:
        index["requires_aesthetics_score"] = True
    for name, module in made.items():
        module.save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SDXL_SCHEDULER))
    for name in ("tokenizer_2",) if refiner else ("tokenizer", "tokenizer_2"):
        shutil.copytree(ROOT / "assets" / "clip-tokenizer", folder / name)
    settings = folder / "tokenizer_2" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": "!"}))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder

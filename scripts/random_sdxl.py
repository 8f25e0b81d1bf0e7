"""Modules of SDXL's full size with random weights, for checks that need no training: on `meta` they cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE: dict[str, Any] = {
    "sample_size": 1024,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}
CLIP: dict[str, Any] = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 2, "bos_token_id": 0}
CLIP_L = CLIP | {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_L |= {"projection_dim": 768, "hidden_act": "quick_gelu", "pad_token_id": 1}
CLIP_G = CLIP | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
CLIP_G |= {"projection_dim": 1280, "hidden_act": "gelu", "pad_token_id": 1}
NAMES = ("unet", "vae", "text_encoder", "text_encoder_2")


def modules(names: Sequence[str] = NAMES) -> dict[str, nn.Module]:
    """The named components on the meta device, frozen and in eval mode."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    makers = {
        "unet": lambda: UNet2DConditionModel(**UNET),
        "vae": lambda: AutoencoderKL(**VAE),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**CLIP_L)),
        "text_encoder_2": lambda: CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_G)),
    }
    with torch.device("meta"):
        return {name: makers[name]().requires_grad_(False).eval() for name in names}


def fill_randomly(module: nn.Module, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """Give a meta module weights that keep signals in range: norms near one, others of size 1/sqrt(inputs)."""
    generator = torch.Generator().manual_seed(seed)
    module.to(dtype).to_empty(device="cpu")
    pool = torch.randn(1_000_003, generator=generator)  # prime, so that repeats fall elsewhere in every row
    for name, parameter in module.named_parameters():
        flat = parameter.data.view(-1)
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
        scale = fan_in**-0.5 if parameter.ndim > 1 else 0.1
        shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        for start in range(0, flat.numel(), len(pool)):
            part = flat[start : start + len(pool)]
            part.copy_(pool[: len(part)] * scale + shift)
        pool = pool.roll(int(torch.randint(1, len(pool), (1,), generator=generator)))
    for name, buffer in module.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return module

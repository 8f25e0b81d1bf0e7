"""BLIP's two towers in transformers' classes, read from the official checkpoints' key names.

The image-text encoder of Li et al. 2022 (arXiv 2201.12086): a ViT, and a BERT whose every layer
cross-attends to the picture. Legend: B pictures, L tokens, N patches + 1, D features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from ...core.errors import ModelFileError
from ...loaders.formats.limits import check_sizes
from ...loaders.formats.weights import read_json

# BLIP's large ViT and ImageReward's `med_config.json`: both official checkpoints are of these sizes. The file's
# `encoder_width` is not used: it says 768, and the reference code replaces it by the ViT's width
# (BLIP models/blip_pretrain.py, ImageReward models/BLIP/blip_pretrain.py).
VIT_LARGE = {"image_size": 224, "patch_size": 16, "width": 1024, "depth": 24, "heads": 16}
MED_LARGE = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}

_VISION_NAMES = (  # official prefix, transformers' prefix; `*` is a block's number
    ("cls_token", "embeddings.class_embedding"),
    ("pos_embed", "embeddings.position_embedding"),
    ("patch_embed.proj.", "embeddings.patch_embedding."),
    ("norm.", "post_layernorm."),
    ("blocks.*.norm1.", "encoder.layers.*.layer_norm1."),
    ("blocks.*.norm2.", "encoder.layers.*.layer_norm2."),
    ("blocks.*.attn.qkv.", "encoder.layers.*.self_attn.qkv."),
    ("blocks.*.attn.proj.", "encoder.layers.*.self_attn.projection."),
    ("blocks.*.mlp.", "encoder.layers.*.mlp."),
)


def _renamed(key: str, old: str, new: str) -> str | None:
    pattern = re.escape(old).replace(r"\*", r"(\d+)")
    found = re.match(pattern, key)
    if found is None:
        return None
    number = found.group(1) if found.groups() else ""
    return new.replace("*", number) + key[found.end() :]


def transformers_vision_key(key: str) -> str:
    """Spell a key of the official ViT, without `visual_encoder.`, as BlipVisionModel does."""
    names = (_renamed(key, official, ours) for official, ours in _VISION_NAMES)
    return next((name for name in names if name is not None), key)


def official_vision_key(key: str) -> str:
    """Spell a key of BlipVisionModel as the official ViT does."""
    names = (_renamed(key, ours, official) for official, ours in _VISION_NAMES)
    return next((name for name in names if name is not None), key)


def med_config(path: Path) -> dict[str, Any]:
    """Read the sizes in an official `med_config.json`. Raises ModelFileError for one that lacks any."""
    config = read_json(path)
    missing = [key for key in MED_LARGE if key not in config]
    if missing:
        raise ModelFileError(f"{path.name} in {path.parent.name} has no {missing[0]}.")
    return {key: config[key] for key in MED_LARGE}


_MAX_BLOCKS = 64


def check_vit(vit: Any, where: str) -> None:
    """Raise ModelFileError unless `vit` gives every size of a ViT, none beyond what a model has."""
    if not isinstance(vit, Mapping) or any(type(vit.get(key)) is not int or vit[key] < 1 for key in VIT_LARGE):
        raise ModelFileError(f"The config of {where} lacks a size of its ViT ({', '.join(VIT_LARGE)}).")
    check_sizes(vit, f"{where}: vit")
    if vit["depth"] > _MAX_BLOCKS:
        raise ModelFileError(f"{where}: vit has {vit['depth']} blocks; no known model has more than {_MAX_BLOCKS}.")


def vision_tower(config: Mapping[str, Any]) -> nn.Module:
    """BlipVisionModel. `config`: image_size, patch_size, width, depth, heads."""
    from transformers import BlipVisionConfig, BlipVisionModel

    settings = BlipVisionConfig(
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        hidden_size=config["width"],
        intermediate_size=4 * config["width"],
        num_hidden_layers=config["depth"],
        num_attention_heads=config["heads"],
        layer_norm_eps=1e-6,
        hidden_act="gelu",
    )
    tower = BlipVisionModel(settings)
    for layer in tower.encoder.layers:
        layer.self_attn = FusedAttention(layer.self_attn)
    return tower


def text_tower(config: Mapping[str, Any], encoder_width: int) -> nn.Module:
    """Return BlipTextModel without a pooler.

    `config` holds the sizes of the official `med_config.json`; `encoder_width` is the width of the ViT whose output
    it attends to.
    """
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    settings = BlipTextConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        encoder_hidden_size=encoder_width,
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        max_position_embeddings=config["max_position_embeddings"],
        layer_norm_eps=config["layer_norm_eps"],
        hidden_act=config["hidden_act"],
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
        bos_token_id=config["vocab_size"] - 2,  # [DEC]; unused, but checked against the vocabulary
    )
    return BlipTextModel(settings, add_pooling_layer=False)


class FusedAttention(nn.Module):
    """BlipAttention's layers with torch's fused attention, which transformers' class does not use."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.qkv, self.projection, self.heads = plain.qkv, plain.projection, plain.num_heads

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Attend to itself. Shape: (B, N, D) -> (B, N, D); the second value stands for weights nobody asks for."""
        queries, keys, values = rearrange(
            self.qkv(hidden_states), "b n (three h d) -> three b h n d", three=3, h=self.heads
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.projection(rearrange(mixed, "b h n d -> b n (h d)")), None


def read_text(text: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Last hidden state of the text's first token, without a picture. Shape: (B, L), (B, L) -> (B, D)."""
    return text(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state[:, 0]


def fuse(text: nn.Module, ids: torch.Tensor, mask: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Last hidden state of the text's first token, having looked at the picture.

    Shape: ids, mask (B, L); image (B, N, D); result (B, D of the text).
    """
    seen = torch.ones(image.shape[:2], dtype=torch.long, device=image.device)  # (B, N)
    output = text(
        input_ids=ids,
        attention_mask=mask,
        encoder_hidden_states=image,
        encoder_attention_mask=seen,
        return_dict=True,
    )
    return output.last_hidden_state[:, 0]

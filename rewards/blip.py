"""BLIP's two towers in transformers' classes, read from the official checkpoints' key names.

The image-text encoder of Li et al. 2022 (arXiv 2201.12086): a ViT, and a BERT whose every layer
cross-attends to the picture. Legend: B pictures, L tokens, N patches + 1, D features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

_VISION_RENAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)


def rename_vision_key(key: str) -> str:
    """A key of the official ViT, without `visual_encoder.`, as BlipVisionModel spells it."""
    for pattern, replacement in _VISION_RENAMES:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key


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
    return BlipVisionModel(settings)


def text_tower(config: Mapping[str, Any]) -> nn.Module:
    """BlipTextModel without a pooler. `config`: the official `med_config.json`."""
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    settings = BlipTextConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        encoder_hidden_size=config["encoder_width"],
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


def fuse(text: nn.Module, ids: torch.Tensor, mask: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Last hidden state of the text's first token, having looked at the picture.

    Shape: ids, mask (B, L); image (B, N, D); result (B, D of the text).
    """
    import torch

    seen = torch.ones(image.shape[:2], dtype=torch.long, device=image.device)  # (B, N)
    output = text(
        input_ids=ids,
        attention_mask=mask,
        encoder_hidden_states=image,
        encoder_attention_mask=seen,
        return_dict=True,
    )
    return output.last_hidden_state[:, 0]

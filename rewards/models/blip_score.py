"""BLIP score: how near BLIP's embeddings of picture and text are (Li et al. 2022, arXiv 2201.12086).

As ImageReward's authors compare with it (THUDM/ImageReward, models/BLIPScore.py): BLIP large as
pretrained, texts read without the picture. Legend: B pictures, L tokens, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ...core.errors import ModelFileError
from ...loaders.formats.component import own_sizes, read_weights
from ...loaders.formats.limits import check_sizes
from ...loaders.formats.weights import fill
from .bert_text import tokenize
from .blip import (
    MED_LARGE,
    VIT_LARGE,
    check_vit,
    med_config,
    read_text,
    text_tower,
    transformers_vision_key,
    vision_tower,
)
from .pixels import PixelNetwork

if TYPE_CHECKING:
    from transformers import BertTokenizer

PROJECTION = 256
# Of the pretraining: momentum copies, queues, the matching head, the caption decoder, the temperature.
# `mlp.` is ImageReward's own head, in files that hold both.
_UNUSED = (
    *("visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m.", "text_decoder.", "itm_head."),
    *("image_queue", "text_queue", "queue_ptr", "ptr_queue", "temp", "mlp."),
)


class BlipScoreModel(nn.Module):
    """BLIP's two towers and their projections into one space."""

    def __init__(self, vit: Mapping[str, Any], med: Mapping[str, Any]) -> None:
        super().__init__()
        self.vision, self.text = vision_tower(vit), text_tower(med, vit["width"])
        self.vision_proj = nn.Linear(vit["width"], PROJECTION)
        self.text_proj = nn.Linear(med["hidden_size"], PROJECTION)
        self.image_size = int(vit["image_size"])

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Cosines. Shape: (B, 3, H, W), (B, L), (B, L) -> (B,)."""
        image = self.vision_proj(self.vision(pixels).last_hidden_state[:, 0])
        text = self.text_proj(read_text(self.text, ids, mask))
        return (F.normalize(image.float(), dim=-1) * F.normalize(text.float(), dim=-1)).sum(-1)


def from_official(key: str) -> str | None:
    """A key of the official `model_large.pth` as `BlipScoreModel` spells it; None if unused."""
    key = key.removeprefix("blip.")
    if key.endswith("position_ids") or key.startswith(_UNUSED):
        return None
    if key.startswith("visual_encoder."):
        return "vision." + transformers_vision_key(key.removeprefix("visual_encoder."))
    if key.startswith("text_encoder."):
        return "text." + key.removeprefix("text_encoder.")
    return key


def load_blip_score(path: Path, dtype: torch.dtype) -> BlipScoreModel:
    """Read `model_large.pth`, or a safetensors file of the same tensors.

    Sizes are found as for ImageReward (`load_official`). Raises ModelFileError.
    """
    beside = path.parent / "med_config.json"
    med = med_config(beside) if beside.is_file() else MED_LARGE
    vit = (own_sizes(path) or {}).get("vit", VIT_LARGE)
    check_vit(vit, path.name)
    check_sizes(med, f"{path.name}: med_config.json")
    state = read_weights(path, dtype, inside="model")
    with torch.device("meta"):
        try:
            network = BlipScoreModel(vit, med)
        except (TypeError, KeyError, ValueError) as e:
            raise ModelFileError(f"The config of {path.name} does not describe a BLIP model: {e}.") from e
    fill(network, {ours: v for k, v in state.items() if (ours := from_official(k)) is not None}, where=path.name)
    return network.requires_grad_(False).eval()


def pixel_network(network: BlipScoreModel, tokenizer: BertTokenizer) -> PixelNetwork:
    """The network with its texts, as `network_reward` takes it."""

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        weight = network.vision_proj.weight
        ids, mask = tokenize(tokenizer, prompts)
        return network(pixels.to(weight.dtype), ids.to(weight.device), mask.to(weight.device))

    return PixelNetwork(network, scores, network.image_size)

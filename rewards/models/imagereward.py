"""ImageReward (Xu et al. 2023, arXiv 2304.05977): a BLIP encoder and an MLP trained on preferences.

The modules hold the official checkpoint's weights under transformers' names; `from_official` and
`to_official` map the one to the other. Legend: B pictures, L tokens, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...core.errors import ModelFileError
from ...loaders.formats.component import own_sizes, read_weights
from ...loaders.formats.limits import check_sizes
from ...loaders.formats.weights import fill, read_json, read_safetensors
from .bert_text import tokenize
from .blip import (
    MED_LARGE,
    VIT_LARGE,
    check_vit,
    fuse,
    med_config,
    official_vision_key,
    text_tower,
    transformers_vision_key,
    vision_tower,
)
from .pixels import PixelNetwork

if TYPE_CHECKING:
    from transformers import BertTokenizer

# Mean and spread of the raw score on the authors' training set (ImageReward.py, `self.mean`).
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072
_UNUSED = ("blip.vision_proj.", "blip.text_proj.")  # BLIP's contrastive heads: stored, never called


def reward_mlp(width: int) -> nn.Sequential:
    """The head: five linear layers with dropout, and no activation, between them."""
    return nn.Sequential(
        *(nn.Linear(width, 1024), nn.Dropout(0.2)),
        *(nn.Linear(1024, 128), nn.Dropout(0.2)),
        *(nn.Linear(128, 64), nn.Dropout(0.1)),
        *(nn.Linear(64, 16), nn.Linear(16, 1)),
    )


class ImageRewardModel(nn.Module):
    """Scores pictures against texts. Needs transformers' BLIP classes, 4.50 or newer."""

    def __init__(self, vit: Mapping[str, Any], med: Mapping[str, Any]) -> None:
        super().__init__()
        self.vision = vision_tower(vit)
        self.text = text_tower(med, vit["width"])
        self.mlp = reward_mlp(med["hidden_size"])
        self.image_size = int(vit["image_size"])

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Rewards, standardised as published. Shape: (B, 3, H, W), (B, L), (B, L) -> (B,)."""
        image = self.vision(pixels).last_hidden_state  # (B, N, D)
        first = fuse(self.text, ids, mask, image)  # (B, D)
        raw = self.mlp(first.to(self.mlp[0].weight.dtype))  # (B, 1)
        return (raw.squeeze(-1).float() - SCORE_MEAN) / SCORE_STD


def from_official(key: str) -> str | None:
    """A key of the official `ImageReward.pt` as `ImageRewardModel` spells it; None if unused."""
    if key.endswith("position_ids") or key.startswith(_UNUSED):
        return None
    if key.startswith("blip.visual_encoder."):
        return "vision." + transformers_vision_key(key.removeprefix("blip.visual_encoder."))
    if key.startswith("blip.text_encoder."):
        return "text." + key.removeprefix("blip.text_encoder.")
    if key.startswith("mlp.layers."):
        return "mlp." + key.removeprefix("mlp.layers.")
    return key


def to_official(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of `ImageRewardModel` under the official key names."""
    renamed = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "vision":
            renamed["blip.visual_encoder." + official_vision_key(rest)] = value
        elif part == "text":
            renamed["blip.text_encoder." + rest] = value
        else:
            renamed["mlp.layers." + rest] = value
    return renamed


def build(
    vit: Mapping[str, Any], med: Mapping[str, Any], state: Mapping[str, torch.Tensor], where: str
) -> ImageRewardModel:
    """A network of these sizes with an official state dict in it, strictly. Raises ModelFileError.

    It is made on `meta`, so that nothing is filled with random numbers first.
    """
    check_vit(vit, where)
    check_sizes(med, f"{where}: med_config.json")
    with torch.device("meta"):
        try:
            network = ImageRewardModel(vit, med)
        except (TypeError, KeyError, ValueError) as e:
            raise ModelFileError(f"The config of {where} does not describe an ImageReward: {e}.") from e
    fill(network, {ours: v for k, v in state.items() if (ours := from_official(k)) is not None}, where=where)
    return network.requires_grad_(False).eval()


def _formats(dtype: torch.dtype) -> Callable[[str], torch.dtype]:
    """The head stays float32: it is small, and half precision would make near scores equal."""
    return lambda key: torch.float32 if key.startswith("mlp.") else dtype


def load_network(folder: Path, dtype: torch.dtype) -> ImageRewardModel:
    """Read `config.json`, `med_config.json` and `ImageReward.safetensors` from a folder.

    Raises ModelFileError.
    """
    vit, med = read_json(folder / "config.json").get("vit"), read_json(folder / "med_config.json")
    return build(vit, med, read_safetensors(folder / "ImageReward.safetensors", _formats(dtype)), folder.name)


def load_official(path: Path, dtype: torch.dtype) -> ImageRewardModel:
    """Read `ImageReward.pt`, or a safetensors file of the same tensors.

    `med_config.json` beside it is read where it is there, and `vit` of a `.json` of its own name; else the
    sizes are ImageReward-v1.0's, which are the same. Raises ModelFileError.
    """
    beside = path.parent / "med_config.json"
    med = med_config(beside) if beside.is_file() else MED_LARGE
    vit = (own_sizes(path) or {}).get("vit", VIT_LARGE)
    return build(vit, med, read_weights(path, _formats(dtype)), path.name)


def pixel_network(network: ImageRewardModel, tokenizer: BertTokenizer) -> PixelNetwork:
    """The network with its texts, as `network_reward` takes it."""

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        weight = network.text.embeddings.word_embeddings.weight
        ids, mask = tokenize(tokenizer, prompts)
        return network(pixels.to(weight.dtype), ids.to(weight.device), mask.to(weight.device))

    return PixelNetwork(network, scores, network.image_size)

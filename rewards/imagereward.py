"""ImageReward (Xu et al. 2023, arXiv 2304.05977): a BLIP encoder and an MLP trained on preferences.

The modules hold the official checkpoint's weights under transformers' names; `from_official` and
`to_official` map the one to the other. Legend: B pictures, L tokens, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..loaders.errors import InputError, ModelFileError
from ..loaders.weights import fill, read_json, read_safetensors
from .blip import fuse, official_vision_key, text_tower, transformers_vision_key, vision_tower
from .preprocess import CLIP_MEAN, CLIP_STD, normalized_pixels

if TYPE_CHECKING:
    from transformers import BertTokenizer

# Mean and spread of the raw score on the authors' training set (ImageReward.py, `self.mean`).
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072
MAX_TOKENS = 35
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
        self.text = text_tower(med)
        self.mlp = reward_mlp(med["hidden_size"])
        self.image_size = int(vit["image_size"])

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Rewards, standardised as published. Shape: (B, 3, H, W), (B, L), (B, L) -> (B,)."""
        image = self.vision(pixels).last_hidden_state  # (B, N, D)
        raw = self.mlp(fuse(self.text, ids, mask, image))  # (B, 1)
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


def load_network(folder: Path, dtype: torch.dtype) -> ImageRewardModel:
    """Read `config.json`, `med_config.json` and `ImageReward.safetensors` from a folder.

    Raises ModelFileError.
    """
    vit, med = read_json(folder / "config.json").get("vit"), read_json(folder / "med_config.json")
    state = read_safetensors(folder / "ImageReward.safetensors")
    with torch.device("meta"):
        try:
            network = ImageRewardModel(vit, med)
        except (TypeError, KeyError, ValueError) as e:
            raise ModelFileError(f"The config of {folder.name} does not describe an ImageReward: {e}.") from e
    renamed = {ours: v.to(dtype) for k, v in state.items() if (ours := from_official(k)) is not None}
    fill(network, renamed, where=folder.name)
    return network.requires_grad_(False).eval()


def load_tokenizer(folder: Path) -> BertTokenizer:
    """The BERT tokenizer of a folder's `vocab.txt`, lower-casing, as the reference makes it."""
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(str(folder), local_files_only=True, do_lower_case=True)


def tokenize(tokenizer: BertTokenizer, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (B, 35) each.

    Raises InputError for a prompt over 35 tokens: the reference cuts it without a word.
    """
    lengths = [len(ids) for ids in tokenizer(list(prompts)).input_ids]
    for prompt, length in zip(prompts, lengths, strict=True):
        if length > MAX_TOKENS:
            raise InputError(
                "prompts",
                prompt,
                f"ImageReward reads {MAX_TOKENS - 2} word pieces and this prompt has {length - 2}. "
                "Score with a shorter prompt that keeps what matters.",
            )
    batch = tokenizer(list(prompts), padding="max_length", max_length=MAX_TOKENS, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def score_images(
    network: ImageRewardModel, tokenizer: BertTokenizer, images: torch.Tensor, prompts: Sequence[str]
) -> torch.Tensor:
    """Rewards of images (B, H, W, 3) in [0, 1], one prompt each: float32 (B,) on the CPU."""
    weight = network.mlp[0].weight
    pixels = normalized_pixels(images, network.image_size, CLIP_MEAN, CLIP_STD)
    ids, mask = tokenize(tokenizer, prompts)
    with torch.no_grad():
        scores = network(pixels.to(weight.device, weight.dtype), ids.to(weight.device), mask.to(weight.device))
    return scores.float().cpu()

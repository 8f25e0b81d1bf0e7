"""The two models of BLIP's towers: ImageReward, and BLIP's own cosine. One way to read the official files of both.

The modules hold the official checkpoints' weights under transformers' names; `from_official` of each class and
`to_official` map the one to the other. They need transformers' BLIP classes, 4.50 or newer.
Legend: B images, L tokens, N patches + 1, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...core.errors import ModelFileError
from ...loaders.formats.component import own_sizes, read_weights
from ...loaders.formats.limits import check_sizes
from ...loaders.formats.weights import DtypeOf, fill
from ._blip import (
    MED_LARGE,
    VIT_LARGE,
    check_vit,
    fuse,
    med_config,
    official_vision_key,
    read_text,
    text_tower,
    transformers_vision_key,
    vision_tower,
)
from ._text import TextReader
from .pixels import PixelNetwork

# Mean and standard deviation of the raw score on the authors' training set (ImageReward.py, `self.mean`).
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072
_PROJECTION = 256
# Of the pretraining: momentum copies, queues, the matching head, the caption decoder, the temperature.
# `mlp.` is ImageReward's own head, in files that hold both.
_PRETRAINING = (
    *("visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m.", "text_decoder.", "itm_head."),
    *("image_queue", "text_queue", "queue_ptr", "ptr_queue", "temp", "mlp."),
)


class BlipModel(nn.Module):
    """BLIP's two towers. `vit` and `med` hold the sizes of the official configs."""

    def __init__(self, vit: Mapping[str, Any], med: Mapping[str, Any]) -> None:
        super().__init__()
        self.vision, self.text = vision_tower(vit), text_tower(med, vit["width"])
        self.image_size = int(vit["image_size"])

    @staticmethod
    def from_official(key: str) -> str | None:
        """Spell a key of the official file as the module does; None for one it does not use."""
        raise NotImplementedError

    def pixel_network(self, texts: TextReader) -> PixelNetwork:
        """Return the network with its way to read texts."""

        def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
            weight = self.text.embeddings.word_embeddings.weight
            ids, mask = texts(prompts)
            return self(pixels.to(weight.dtype), ids.to(weight.device), mask.to(weight.device))

        def features(pixels: torch.Tensor) -> torch.Tensor:
            seen = self.vision(pixels.to(self.text.embeddings.word_embeddings.weight.dtype))
            return seen.last_hidden_state.mean(1)  # over all patches: the class token sees what its reward needs only

        return PixelNetwork(self, scores, self.image_size, features=features, texts=texts)


class ImageRewardModel(BlipModel):
    """ImageReward (Xu et al. 2023, arXiv 2304.05977): BLIP's fused encoder and an MLP trained on preferences."""

    def __init__(self, vit: Mapping[str, Any], med: Mapping[str, Any]) -> None:
        super().__init__(vit, med)
        self.mlp = reward_mlp(med["hidden_size"])

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute rewards, standardised as published. Shape: (B, 3, H, W), (B, L), (B, L) -> (B,)."""
        image = self.vision(pixels).last_hidden_state  # (B, N, D)
        first = fuse(self.text, ids, mask, image)  # (B, D)
        raw = self.mlp(first.to(self.mlp[0].weight.dtype))  # (B, 1)
        return (raw.squeeze(-1).float() - SCORE_MEAN) / SCORE_STD

    @staticmethod
    def from_official(key: str) -> str | None:
        """Spell a key of `ImageReward.pt`. BLIP's contrastive heads are stored there, and never called."""
        if key.endswith("position_ids") or key.startswith(("blip.vision_proj.", "blip.text_proj.")):
            return None
        if key.startswith("mlp.layers."):
            return "mlp." + key.removeprefix("mlp.layers.")
        return _tower_key(key.removeprefix("blip.")) if key.startswith("blip.") else key


class BlipScoreModel(BlipModel):
    """BLIP's two towers and their projections into one space; texts are read without the image."""

    def __init__(self, vit: Mapping[str, Any], med: Mapping[str, Any]) -> None:
        super().__init__(vit, med)
        self.vision_proj = nn.Linear(vit["width"], _PROJECTION)
        self.text_proj = nn.Linear(med["hidden_size"], _PROJECTION)

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute cosines. Shape: (B, 3, H, W), (B, L), (B, L) -> (B,)."""
        image = self.vision_proj(self.vision(pixels).last_hidden_state[:, 0])
        text = self.text_proj(read_text(self.text, ids, mask))
        return (F.normalize(image.float(), dim=-1) * F.normalize(text.float(), dim=-1)).sum(-1)

    @staticmethod
    def from_official(key: str) -> str | None:
        """Spell a key of `model_large.pth`, or of BLIP's part of an ImageReward."""
        key = key.removeprefix("blip.")
        return None if key.endswith("position_ids") or key.startswith(_PRETRAINING) else _tower_key(key)


def reward_mlp(width: int) -> nn.Sequential:
    """Make ImageReward's head, and LAION's: five linear layers with dropout, and no activation, between them."""
    return nn.Sequential(
        *(nn.Linear(width, 1024), nn.Dropout(0.2)),
        *(nn.Linear(1024, 128), nn.Dropout(0.2)),
        *(nn.Linear(128, 64), nn.Dropout(0.1)),
        *(nn.Linear(64, 16), nn.Linear(16, 1)),
    )


# --- reading ----------------------------------------------------------------------------------


def load_blip(
    kind: type[BlipModel],
    path: Path,
    dtype: DtypeOf,
    *,
    vit: Mapping[str, Any] | None = None,
    inside: str | None = None,
) -> Any:
    """Load an official file, or a safetensors file of the same tensors, strictly.

    `vit` holds the ViT's sizes; None: those of a `.json` of the file's own name, else the large one's. The text's
    sizes are those of a `med_config.json` beside it, else the large one's. `inside` names the entry of a pickled file
    that holds the weights.
    Raises ModelFileError.
    """
    beside = path.parent / "med_config.json"
    med = med_config(beside) if beside.is_file() else MED_LARGE
    if vit is None:
        vit = (own_sizes(path) or {}).get("vit", VIT_LARGE)
    check_vit(vit, path.name)
    check_sizes(med, f"{path.name}: med_config.json")
    state = read_weights(path, dtype, inside=inside)
    with torch.device("meta"):  # nothing is filled with random numbers first
        try:
            network = kind(vit, med)
        except (TypeError, KeyError, ValueError) as e:
            raise ModelFileError(f"The config of {path.name} does not describe a {kind.__name__}: {e}.") from e
    fill(network, {ours: v for k, v in state.items() if (ours := kind.from_official(k)) is not None}, where=path.name)
    return network.requires_grad_(False).eval()


def load_imagereward(path: Path, dtype: torch.dtype, vit: Mapping[str, Any] | None = None) -> ImageRewardModel:
    """Load an ImageReward. Its head stays float32: it is small, and half precision would make near scores equal."""
    return load_blip(ImageRewardModel, path, lambda key: torch.float32 if key.startswith("mlp.") else dtype, vit=vit)


def _tower_key(key: str) -> str:
    if key.startswith("visual_encoder."):
        return "vision." + transformers_vision_key(key.removeprefix("visual_encoder."))
    return "text." + key.removeprefix("text_encoder.") if key.startswith("text_encoder.") else key


def to_official(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict of `ImageRewardModel` under the official key names."""
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

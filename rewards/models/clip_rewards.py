"""The rewards that are a CLIP model and little else: CLIP score, PickScore, HPS v2.1, LAION's aesthetic.

Legend: B pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...loaders.formats.component import read_weights
from ...loaders.formats.weights import fill
from .clip import image_features, text_features
from .imagereward import reward_mlp
from .pixels import PixelNetwork

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizerFast


def _image_size(network: CLIPModel) -> int:
    return int(network.config.vision_config.image_size)


def cosine_network(
    network: CLIPModel, tokenizer: CLIPTokenizerFast, *, scaled: bool = False, whole: bool = False
) -> PixelNetwork:
    """The cosine of picture and text; `scaled` times the model's own logit scale.

    That is PickScore, whose published code prepares pictures by transformers. `whole` shows it the whole
    picture (HPS v2) instead of the middle square.
    """

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        cosines = (image_features(network, pixels) * text_features(network, tokenizer, prompts)).sum(-1)
        return cosines * network.logit_scale.float().exp() if scaled else cosines

    return PixelNetwork(network, scores, _image_size(network), whole, floor=scaled)


class AestheticModel(nn.Module):
    """CLIP's image tower and an MLP on its embedding of length 1 (christophschuhmann/improved-aesthetic-predictor)."""

    def __init__(self, clip: CLIPModel, head: nn.Sequential) -> None:
        super().__init__()
        self.clip, self.head = clip, head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores. Shape: (B, 3, H, W) -> (B,)."""
        return self.head(image_features(self.clip, pixels)).squeeze(-1)


def load_head(path: Path, width: int) -> nn.Sequential:
    """The aesthetic head of `sac+logos+ava1-l14-linearMSE.pth`, float32, for embeddings of `width`.

    It has ImageReward's layers. Raises ModelFileError.
    """
    state = read_weights(path, torch.float32)
    with torch.device("meta"):
        head = reward_mlp(width)
    fill(head, {key.removeprefix("layers."): value for key, value in state.items()}, where=path.name)
    return head.requires_grad_(False).eval()


def aesthetic_network(clip: CLIPModel, head: nn.Sequential) -> PixelNetwork:
    """The aesthetic model, which reads no text."""
    network = AestheticModel(clip, head)

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return network(pixels)

    return PixelNetwork(network, scores, _image_size(clip))

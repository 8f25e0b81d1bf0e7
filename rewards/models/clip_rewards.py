"""The rewards that are a CLIP model and little else: CLIP score, PickScore, HPS v2.1, LAION's aesthetic.

Legend: B pictures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...core.errors import ModelFileError
from ...loaders.formats.component import read_weights
from ...loaders.formats.weights import fill
from ..files import AESTHETIC_HEAD
from .clean_text import CleaningTokenizer
from .clip import image_features, text_features
from .imagereward import reward_mlp
from .pixels import PixelNetwork

if TYPE_CHECKING:
    from transformers import CLIPModel

    from .clip import ClipTokenizer


def _image_size(network: CLIPModel) -> int:
    return int(network.config.vision_config.image_size)


def cosine_network(
    network: CLIPModel, tokenizer: ClipTokenizer, *, scaled: bool = False, whole: bool = False
) -> PixelNetwork:
    """Return the cosine of picture and text as a network; `scaled` times the model's own logit scale.

    That is PickScore, whose published code prepares pictures by transformers: RGB first, the middle counted down.
    `whole` shows it the whole picture (HPS v2) instead of the middle square.
    """

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        cosines = (image_features(network, pixels) * text_features(network, tokenizer, prompts)).sum(-1)
        return cosines * network.logit_scale.float().exp() if scaled else cosines

    settings = ("RGB first",) if scaled else ()
    if isinstance(tokenizer, CleaningTokenizer):
        settings = (tokenizer.about,)
    return PixelNetwork(network, scores, _image_size(network), whole, scaled, scaled, settings)


class AestheticModel(nn.Module):
    """CLIP's image tower and an MLP on its embedding of length 1 (christophschuhmann/improved-aesthetic-predictor)."""

    def __init__(self, clip: CLIPModel, head: nn.Sequential) -> None:
        super().__init__()
        self.clip, self.head = clip, head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores. Shape: (B, 3, H, W) -> (B,)."""
        return self.head(image_features(self.clip, pixels)).squeeze(-1)


def load_head(path: Path, width: int) -> nn.Sequential:
    """Load the aesthetic head of `sac+logos+ava1-l14-linearMSE.pth`, float32, for embeddings of `width`.

    It has ImageReward's layers. Raises ModelFileError, naming the file that is wanted for one that holds another head.
    """
    state = {key.removeprefix("layers."): value for key, value in read_weights(path, torch.float32).items()}
    with torch.device("meta"):
        head = reward_mlp(width)
    other = _other_head(state, head)
    if other:
        raise ModelFileError(
            f"{path.name} {other}. aesthetic-v2 is read from {AESTHETIC_HEAD.names[1]}; to get it: "
            f"{AESTHETIC_HEAD.command}\n"
        )
    fill(head, state, where=path.name)
    return head.requires_grad_(False).eval()


def _other_head(state: Mapping[str, torch.Tensor], head: nn.Sequential) -> str:
    """What a file holds in place of the head; empty for the head."""
    wanted = head.state_dict()
    if state.keys() == wanted.keys():
        width, found = wanted["0.weight"].shape[1], tuple(state["0.weight"].shape)
        other = len(found) == 2 and found[1] != width
        return f"reads embeddings of {found[1]} numbers, and the CLIP model makes {width}" if other else ""
    if state.keys() == {"weight", "bias"}:
        return "is a head of LAION's first aesthetic predictor: one layer"
    if all(re.fullmatch(r"\d+\.(weight|bias)", key) for key in state):
        return "has other layers, as the heads with activations between them (reluMSE) have"
    return "holds no aesthetic head"


def aesthetic_network(clip: CLIPModel, head: nn.Sequential) -> PixelNetwork:
    """The aesthetic model, which reads no text."""
    network = AestheticModel(clip, head)

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return network(pixels)

    return PixelNetwork(network, scores, _image_size(clip))

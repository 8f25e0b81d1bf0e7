"""LAION's aesthetic predictor v2: an MLP on CLIP ViT-L/14's embedding of an image, of length 1. It reads no text.

Source: christophschuhmann/improved-aesthetic-predictor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RewardFile, from_web
from ..known import KnownReward
from .clip_score import CLIP_LARGE

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .pixels import PixelNetwork

HEAD = RewardFile(
    ("sac+logos+ava1-l14-linearMSE.safetensors", "sac+logos+ava1-l14-linearMSE.pth"),
    from_web(
        "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
        "sac%2Blogos%2Bava1-l14-linearMSE.pth",
        "sac+logos+ava1-l14-linearMSE.pth",
    ),
    0.004,
)


def build(paths: Sequence[Path], dtype: torch.dtype) -> PixelNetwork:
    """Load the head and CLIP's image tower. Raises ModelFileError."""
    from torch import nn

    from ._clip import CLIP_L, image_features, image_size, load_clip
    from .pixels import PixelNetwork

    clip = load_clip(paths[1], CLIP_L, dtype, text=False)
    head = load_head(paths[0], clip.config.projection_dim)

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return head(image_features(clip, pixels)).squeeze(-1)

    network = nn.ModuleDict({"clip": clip, "head": head})
    return PixelNetwork(network, scores, image_size(clip), features=partial(image_features, clip))


def load_head(path: Path, width: int) -> nn.Sequential:
    """Load the aesthetic head of `sac+logos+ava1-l14-linearMSE.pth`, float32, for embeddings of `width`.

    It has ImageReward's layers. Raises ModelFileError, naming the file that is wanted for one that holds another head.
    """
    import torch

    from ...core.errors import ModelFileError
    from ...loaders.formats.component import read_weights
    from ...loaders.formats.weights import fill
    from ._blip_models import reward_mlp

    state = {key.removeprefix("layers."): value for key, value in read_weights(path, torch.float32).items()}
    with torch.device("meta"):
        head = reward_mlp(width)
    other = _other_head(state, head)
    if other:
        raise ModelFileError(
            f"{path.name} {other}. aesthetic-v2 is read from {HEAD.names[1]}; to get it: {HEAD.command}\n"
        )
    fill(head, state, where=path.name)
    return head.requires_grad_(False).eval()


def _other_head(state: Mapping[str, torch.Tensor], head: nn.Sequential) -> str:
    """Say what a file holds in place of the head; nothing of the head."""
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


REWARD = KnownReward(
    name="aesthetic-v2",
    build=build,
    files=(HEAD, CLIP_LARGE),
    needs_prompt=False,
    meaning="How much people like a picture, whatever it shows: about 1 to 10.",
    source="LAION aesthetic predictor v2; christophschuhmann/improved-aesthetic-predictor, on CLIP ViT-L/14.",
)

"""The embedded reward that reads no text: beauty in the embedded world, by rules that `scripts/embedded` states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..known import KnownReward, Scorer
from ..statistics import Statistics

if TYPE_CHECKING:
    import torch

WIDTHS, EMBEDDING = (24, 32, 64, 64), 128


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load the weights. Raises ModelFileError."""
    import torch

    from ...loaders.formats.component import read_weights
    from ...loaders.formats.weights import fill
    from ._resnet import SIDE, ResNetScore
    from .pixels import PixelNetwork

    with torch.device("meta"):
        network = ResNetScore(WIDTHS, EMBEDDING)
    fill(network, read_weights(paths[0], dtype), where=paths[0].name)
    network.requires_grad_(False).eval()

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return network(pixels)

    return PixelNetwork(network, scores, SIDE)


REWARD = KnownReward(
    name="tiny-aesthetic",
    build=build,
    shipped=("tiny-aesthetic/model.safetensors",),
    needs_prompt=False,
    statistics=Statistics(5.0, 2.0, "not measured"),
    meaning="How well a picture of the embedded world follows a few stated rules of beauty: about 0 to 10.",
    source="Trained by scripts/embedded; an image tower and an MLP, as LAION's aesthetic predictor has.",
)

"""CLIP score: the cosine of image and text by OpenAI's CLIP ViT-L/14 (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RewardFile, from_hub
from ..known import KnownReward, Scorer

if TYPE_CHECKING:
    import torch

CLIP_LARGE = RewardFile(
    ("clip-vit-large-patch14", "clip-vit-large-patch14.safetensors"),
    from_hub("openai/clip-vit-large-patch14", "config.json", "model.safetensors", folder="clip-vit-large-patch14"),
    1.7,
)


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load CLIP from a folder or a file. Raises ModelFileError."""
    from ._clip import CLIP_L, cosine_network, load_clip
    from ._text import clip_texts

    return cosine_network(load_clip(paths[0], CLIP_L, dtype), clip_texts(cleaned=True))


REWARD = KnownReward(
    name="clip-score",
    build=build,
    files=(CLIP_LARGE,),
    needs_prompt=True,
    meaning="Cosine of picture and text, -1 to 1; papers that say CLIP score often show it times 100.",
    source="Radford et al. 2021, arXiv 2103.00020; OpenAI's CLIP ViT-L/14.",
)

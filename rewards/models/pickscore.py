"""PickScore v1: LAION's CLIP ViT-H/14 tuned on which of two images people picked (Kirstain et al. 2023, 2305.01569)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RewardFile, from_hub
from ..known import KnownReward, Scorer

if TYPE_CHECKING:
    import torch


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load PickScore from a folder or a file. Raises ModelFileError.

    Its published code prepares images and texts by transformers' processors: RGB first, the middle counted down, texts
    as they are. The score is the cosine times the model's own scale.
    """
    from ._clip import CLIP_H, cosine_network, load_clip
    from ._text import clip_texts

    network = load_clip(paths[0], CLIP_H, dtype)
    return cosine_network(network, clip_texts(cleaned=False), scaled=True, floor=True, rgb_first=True)


REWARD = KnownReward(
    name="pickscore-v1",
    build=build,
    files=(
        RewardFile(
            ("PickScore_v1", "PickScore_v1.safetensors"),
            from_hub("yuvalkirstain/PickScore_v1", "config.json", "model.safetensors", folder="PickScore_v1"),
            3.9,
        ),
    ),
    needs_prompt=True,
    meaning="How much people prefer a picture for its prompt: the cosine times the model's own scale, which is about "
    "100.",
    source="Kirstain et al. 2023, arXiv 2305.01569; yuvalkirstain/PickScore_v1.",
)

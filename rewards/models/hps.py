"""HPS v2.1: LAION's CLIP ViT-H/14 tuned on people's rankings (Wu et al. 2023, arXiv 2306.09341)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RewardFile, from_hub
from ..known import KnownReward, Scorer

if TYPE_CHECKING:
    import torch


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load HPS from a file of OpenCLIP's key names. It sees the whole image. Raises ModelFileError."""
    from ._clip import CLIP_H, cosine_network, load_clip
    from ._text import clip_texts

    return cosine_network(load_clip(paths[0], CLIP_H, dtype), clip_texts(cleaned=True), view="fit")


REWARD = KnownReward(
    name="hps-v2.1",
    build=build,
    files=(
        RewardFile(
            ("HPS_v2.1_compressed.safetensors", "HPS_v2.1_compressed.pt"),
            from_hub("xswu/HPSv2", "HPS_v2.1_compressed.pt"),
            2.0,
        ),
    ),
    needs_prompt=True,
    meaning="How much people prefer a picture for its prompt: a cosine, -1 to 1; its authors' tables show it times "
    "100.",
    source="Wu et al. 2023, arXiv 2306.09341; xswu/HPSv2.",
)

"""BLIP score: how near BLIP's embeddings of image and text are (Li et al. 2022, arXiv 2201.12086).

As ImageReward's authors compare with it (THUDM/ImageReward, models/BLIPScore.py): BLIP large as pretrained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RewardFile, from_web
from ..known import KnownReward, Scorer

if TYPE_CHECKING:
    import torch


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load `model_large.pth`, or a safetensors file of the same tensors. Raises ModelFileError."""
    from ._blip_models import BlipScoreModel, load_blip
    from ._text import bert_texts

    return load_blip(BlipScoreModel, paths[0], dtype, inside="model").pixel_network(bert_texts())


REWARD = KnownReward(
    name="blip-score",
    build=build,
    files=(
        RewardFile(
            ("model_large.safetensors", "model_large.pth"),
            from_web(
                "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth",
                "model_large.pth",
            ),
            3.8,
        ),
    ),
    needs_prompt=True,
    meaning="Cosine of picture and text, -1 to 1.",
    source="Li et al. 2022, arXiv 2201.12086; Salesforce's BLIP large, as THUDM/ImageReward compares with it.",
)

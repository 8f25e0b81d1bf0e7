"""ImageReward: how much people prefer an image for its prompt (Xu et al. 2023, arXiv 2304.05977)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RewardFile, from_hub
from ..known import KnownReward, Scorer
from ..statistics import Statistics

if TYPE_CHECKING:
    import torch


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load `ImageReward.pt`, or a safetensors file of the same tensors. Raises ModelFileError."""
    from ._blip_models import load_imagereward
    from ._text import bert_texts

    return load_imagereward(paths[0], dtype).pixel_network(bert_texts())


REWARD = KnownReward(
    name="imagereward-v1.0",
    build=build,
    files=(
        RewardFile(
            ("ImageReward.safetensors", "ImageReward.pt"),
            from_hub("THUDM/ImageReward", "ImageReward.pt", "med_config.json"),
            1.8,
        ),
    ),
    needs_prompt=True,
    statistics=Statistics(0.0, 1.0, "by construction: its authors standardise it on their training set"),
    meaning="How much people prefer a picture for its prompt: about -2 to 2, mean 0 and standard deviation 1 on its "
    "authors' pictures.",
    source="Xu et al. 2023, arXiv 2304.05977; THUDM/ImageReward.",
)

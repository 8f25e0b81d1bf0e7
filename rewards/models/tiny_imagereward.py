"""The embedded reward: ImageReward at small size, trained on the embedded world by `scripts/embedded`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..known import KnownReward, Scorer
from ..statistics import Statistics

if TYPE_CHECKING:
    import torch


def build(paths: Sequence[Path], dtype: torch.dtype) -> Scorer:
    """Load the weights and the words. `config.json` and `med_config.json` beside them hold the sizes."""
    from ...loaders.formats.weights import read_json
    from ._blip_models import load_imagereward
    from ._text import bert_texts

    folder = paths[0].parent
    network = load_imagereward(paths[0], dtype, read_json(folder / "config.json")["vit"])
    return network.pixel_network(bert_texts(folder))


REWARD = KnownReward(
    name="tiny-imagereward",
    build=build,
    shipped=("tiny-imagereward/ImageReward.safetensors", "tiny-imagereward/vocab.txt"),
    needs_prompt=True,
    statistics=Statistics(
        0.1599,
        1.1294,
        "measured by scripts/embedded/reward_statistics.py on 500 drawn pictures of the embedded world, half of them "
        "with their own caption, half with another's",
    ),
    meaning="About -2 (unrelated) to 2 (as described); for pictures of the embedded world.",
    source="Trained by scripts/embedded; the architecture of ImageReward (arXiv 2304.05977).",
)

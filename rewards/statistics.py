"""Mean and spread of a reward's scores, so that rewards of different ranges can be added."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """What a reward's scores are usually like.

    Attributes:
        mean, std: of its scores; std is above 0.
        source: where the figures come from: a paper, or the pictures they were measured on.
    """

    mean: float
    std: float
    source: str


# ImageReward's own code standardises its scores. The figures of tiny-imagereward are what
# `python -m scripts.embedded.reward_statistics` printed. For the others no published mean and
# standard deviation are known here, and the official weights were not at hand to measure them; a JPEG's size depends on
# the picture's.
REFERENCE: dict[str, Statistics] = {
    "imagereward-v1.0": Statistics(0.0, 1.0, "by construction: its authors standardise it on their training set"),
    "tiny-imagereward": Statistics(
        0.1599,
        1.1294,
        "measured by scripts/embedded/reward_statistics.py on 500 drawn pictures of the embedded world, half of them "
        "with their own caption, half with another's",
    ),
}

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


# ImageReward's own code standardises its scores. The others' authors publish no mean and spread that
# could be found; those of what ships with the pack are measured by `python -m scripts.reward_statistics`.
REFERENCE: dict[str, Statistics] = {
    "imagereward-v1.0": Statistics(0.0, 1.0, "by construction: its authors standardise it on their training set"),
}

"""Mean and standard deviation of a reward's scores, so that rewards of different ranges can be added."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """What a reward's scores are usually like.

    Attributes:
        mean, std: of its scores; std is above 0.
        source: where the figures come from: a paper, or the images they were measured on.
    """

    mean: float
    std: float
    source: str

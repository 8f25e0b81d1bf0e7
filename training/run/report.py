"""The figures of an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from ..algorithms.registry import ALGORITHMS

if TYPE_CHECKING:
    import torch


class Figure(NamedTuple):
    """Describe a figure that an algorithm reports: a column of metrics.jsonl, a curve in the page and in the picture.

    Attributes:
        name: its key; no field of `EpochReport` has it.
        title: above its curve; empty where it is not drawn.
        floor: what the axis always includes.
        minus: what the curve subtracts, such as the value that means no change.
        if_any: whether the picture leaves it out where it is 0 throughout.
    """

    name: str
    title: str = ""
    floor: float | None = None
    minus: float = 0.0
    if_any: bool = False


@dataclass(frozen=True)
class EpochReport:
    """Hold one epoch's figures.

    Attributes:
        epoch: from 1.
        reward, reward_std: mean and standard deviation of what is trained on, the weighted sum where there are several;
            None of an algorithm that scores nothing.
        rewards: mean of each reward by name, parts of a combined one too.
        figures: the algorithm's own by name, such as loss; attributes too: `report.loss`.
        pictures: learned from or left out, in this epoch.
        algorithm: its name in `ALGORITHMS`.
        seconds: by phase.
        evaluation: figures of the comparison with the untrained model, in epochs that made one.
        note: what a user should know, such as scores that were all the same.
        grid: (B, H, W, 3) sample pictures in epochs that made them; a file of their own in the run folder.
    """

    epoch: int
    reward: float | None
    reward_std: float | None
    rewards: Mapping[str, float]
    figures: Mapping[str, float]
    pictures: int
    algorithm: str = "clipped"
    seconds: Mapping[str, float] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None
    note: str = ""
    grid: torch.Tensor | None = field(default=None, compare=False, repr=False)

    def __getattr__(self, name: str) -> float:
        """Return a figure of the algorithm. Raises AttributeError where it reports none of that name."""
        try:
            return self.__dict__["figures"][name]
        except KeyError:
            raise AttributeError(f"This epoch has no figure {name!r}.") from None

    def record(self) -> dict[str, Any]:
        """Return a line of metrics.jsonl: everything but the pictures, the algorithm's figures among the rest."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("grid", "figures")}
        return {**known, **self.figures}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> EpochReport:
        """Read a line of metrics.jsonl. Raises TypeError, KeyError or ValueError for what is none."""
        names = {f.name for f in fields(EpochReport)} - {"figures", "grid"}
        known = {k: v for k, v in record.items() if k in names}
        others = {k: v for k, v in record.items() if k not in names and type(v) in (int, float)}
        report = EpochReport(**known, figures=others)
        numbers = [report.reward] if report.reward is not None else []
        if not isinstance(report.epoch, int) or not all(map(math.isfinite, (*numbers, *others.values()))):
            raise ValueError("not an epoch's record")
        return report


def drawn_figures(algorithm: str) -> tuple[Figure, ...]:
    """Return the figures of an algorithm that have a curve; none for a name of no algorithm."""
    known = ALGORITHMS.get(algorithm)
    return tuple(figure for figure in known.load().figures if figure.title) if known is not None else ()

"""The figures of an epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

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
        others = {k: v for k, v in record.items() if k not in names}
        report = EpochReport(**known, figures=others)
        scores = [n for n in (report.reward, report.reward_std) if n is not None]
        if not all(type(n) is int and 0 <= n < 2**53 for n in (report.epoch, report.pictures)):
            raise ValueError("not an epoch's counts")
        if not all(map(_is_record, (dict(enumerate(scores)), others, report.rewards, report.seconds))):
            raise ValueError("not an epoch's figures, rewards or seconds")
        if not all(isinstance(text, str) for text in (report.note, report.algorithm)):
            raise ValueError("not an epoch's note or algorithm")
        if not _is_evaluation(report.evaluation):
            raise ValueError("not an epoch's comparison")
        return report


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that a curve can show: a float holds it, and it is finite."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


def _is_evaluation(value: Any) -> bool:
    """Return whether a value is what `compare` gives, or None: figures, some of them by reward."""
    if value is None:
        return True
    if not isinstance(value, Mapping) or not isinstance(value.get("rewards"), Mapping):
        return False
    rewards = value["rewards"].values()
    if not _is_evaluation(value.get("afterwards")):
        return False
    rest = [v for k, v in value.items() if k not in ("rewards", "afterwards")]
    figures = all(isinstance(v, bool) or _is_number(v) for v in rest)
    return figures and all(_is_record(one) and "tuned" in one for one in rewards)

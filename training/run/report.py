"""What is told about a run while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class Progress(NamedTuple):
    """Where a run stands, told after each denoising step and each batch of learning.

    Attributes:
        epoch, epochs: the epoch at work, from 1, and how many there are.
        phase: "sampling", "scoring", "learning", "samples" or "evaluating".
        done, total: of this phase.
        seconds_left: for the whole run, as the epochs before took; None in the first.
    """

    epoch: int
    epochs: int
    phase: str
    done: int
    total: int
    seconds_left: float | None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class EpochReport:
    """One epoch's figures.

    Attributes:
        epoch: from 1.
        reward, reward_std: mean and spread of what is trained on, weighed together where there are several.
        rewards: mean of each reward by name, parts of a combined one too.
        loss, kl: averages over the pairs; kl is to the model before training, 0 where kl_weight is.
        ratio, clip_fraction: average probability ratio, and the share of pairs that the trust region held back.
        first_ratio_error: largest |ratio - 1| in the first update, where it must be rounding only.
        grad_norm: average gradient length before it was limited.
        learning_rate: of the last update.
        updates, pairs, dropped: optimizer steps, (picture, step) pairs learned from, and pairs left out because
            their advantage was 0, so that they had no gradient.
        pictures: sampled in this epoch.
        seconds: by phase.
        evaluation: figures of the comparison with the untrained model, in epochs that made one.
        note: what a user should know, such as scores that were all the same.
        grid: (B, H, W, 3) sample pictures in epochs that made them; a file of their own in the run folder.
    """

    epoch: int
    reward: float
    reward_std: float
    rewards: Mapping[str, float]
    loss: float
    kl: float
    ratio: float
    clip_fraction: float
    first_ratio_error: float
    grad_norm: float
    learning_rate: float
    updates: int
    pairs: int
    dropped: int
    pictures: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None
    note: str = ""
    grid: torch.Tensor | None = field(default=None, compare=False, repr=False)

    def record(self) -> dict[str, Any]:
        """For metrics.jsonl: everything but the pictures."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "grid"}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> EpochReport:
        """From a line of metrics.jsonl. Raises TypeError, KeyError or ValueError for what is none."""
        known = {f.name for f in fields(EpochReport)} - {"grid"}
        report = EpochReport(**{k: v for k, v in record.items() if k in known})
        whole = [report.epoch, report.updates, report.pairs, report.dropped, report.pictures]
        figures = [getattr(report, name) for name in _FIGURES]
        if not all(type(n) is int and 0 <= n < 2**53 for n in whole) or not all(map(_is_number, figures)):
            raise ValueError("not an epoch's figures")
        if not all(_is_record(numbers) for numbers in (report.rewards, report.seconds)):
            raise ValueError("not an epoch's rewards or seconds")
        if not isinstance(report.note, str) or not _is_evaluation(report.evaluation):
            raise ValueError("not an epoch's comparison or note")
        return report


_FIGURES = ("reward", "reward_std", "loss", "kl", "ratio", "clip_fraction")
_FIGURES += ("first_ratio_error", "grad_norm", "learning_rate")


def _is_number(value: Any) -> bool:
    """Whether a value is a number that a curve can show: a float holds it, and it is finite."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


def _is_evaluation(value: Any) -> bool:
    """Whether a value is what `evaluate.compare` gives, or None: figures, some of them by reward."""
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

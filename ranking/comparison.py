"""Two tables of the same prompts and seeds, before and after: who wins, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from ..core.errors import InputError
from .intervals import Interval, mean_reach, win_rate
from .table import ScoreTable


@dataclass(frozen=True)
class Difference:
    """One reward's difference over B pairs.

    Attributes:
        name: the reward's.
        before, after: mean scores.
        change: mean of after - before; change_low, change_high: its 95% interval.
        win_rate: share of pairs in which `after` scored higher; ties count half.
    """

    name: str
    before: float
    after: float
    change: float
    change_low: float
    change_high: float
    win_rate: Interval


def difference(
    name: str, before: torch.Tensor, after: torch.Tensor, prompts: Sequence[Hashable] | None = None
) -> Difference:
    """Compare paired scores. Shape: both (B,), B at least 1; an interval of the change needs 2.

    The change's interval is over prompts where they are given; the win rate's takes the pairs for independent.
    """
    before, after = before.double(), after.double()
    change = after - before
    mean = float(change.mean())
    half = mean_reach(change, prompts) if len(change) > 1 else math.inf
    means = float(before.mean()), float(after.mean())
    return Difference(name, *means, mean, mean - half, mean + half, win_rate(before, after))


def paired(before: ScoreTable, after: ScoreTable) -> tuple[ScoreTable, ScoreTable]:
    """Bring both tables into the order of `before`, row for row of one prompt and one seed.

    Raises InputError when a picture of one has no partner in the other.
    """
    places: dict[tuple[str, int | None], list[int]] = {}
    for i, key in enumerate(zip(after.prompts, after.seeds, strict=True)):
        places.setdefault(key, []).append(i)
    order = []
    for prompt, seed in zip(before.prompts, before.seeds, strict=True):
        partners = places.get((prompt, seed))
        if not partners:
            made = "an unknown seed" if seed is None else f"seed {seed}"
            raise InputError(
                "after", f"no picture of {prompt!r} from {made}", "Sample both with the same prompts, seed and number."
            )
        order.append(partners.pop(0))
    if len(order) != len(after):
        raise InputError(
            "before", f"{len(before)} pictures", f"after has {len(after)}; sample both with the same prompts and seeds."
        )
    return before, after.rows(order)


def compare(before: ScoreTable, after: ScoreTable) -> list[Difference]:
    """Compute the difference of every reward that both tables have, the main one first.

    Raises InputError when they were not scored with the same main reward, or are no pairs.
    """
    if before.main != after.main:
        raise InputError("after", after.main, f"before was scored with {before.main}; score both with the same reward.")
    before, after = paired(before, after)
    names = [before.main, *(n for n in before.scores if n != before.main and n in after.scores)]
    return [difference(name, before.scores[name], after.scores[name], before.prompts) for name in names]


def in_words(found: Difference) -> str:
    """Say in one line: means, change with its interval, win rate with its interval."""
    change = f"{found.change:+.3g}"
    if math.isfinite(found.change_low):
        change += f" ({found.change_low:+.3g} to {found.change_high:+.3g})"
    rate = found.win_rate
    return (
        f"{found.name}: {found.before:.4g} before, {found.after:.4g} after; change {change}; after wins "
        f"{rate.value:.0%} of pairs (95% interval {rate.low:.0%} to {rate.high:.0%})"
    )


def best_examples(before: ScoreTable, after: ScoreTable, count: int) -> list[int]:
    """Choose `count` rows at even places in the order of change, the largest gain first and the largest loss last."""
    change = (after.scores[after.main] - before.scores[before.main]).tolist()
    order: Sequence[int] = sorted(range(len(change)), key=lambda i: (-change[i], i))
    if len(order) <= count:
        return list(order)
    if count == 1:
        return [order[0]]
    return [order[round(k * (len(order) - 1) / (count - 1))] for k in range(count)]

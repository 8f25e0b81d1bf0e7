"""Which setting is best, and how sure that is: means of cells, rows, columns and pages. Pure.

Intervals are of the mean over other seeds: pictures of one prompt and seed are alike under every setting, so they count
as one (`mean_reach`). Two settings are compared on the same seeds, which is far surer than two intervals side by side.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ...ranking.intervals import mean_reach
from .plan import Plan

_FEWEST = 3  # seeds for an interval: of two it reaches over everything (t is 12.7)


class Mean(NamedTuple):
    """A mean, and how far its 95% interval reaches to either side; None of fewer than three seeds, which say little."""

    value: float
    reach: float | None


class Lead(NamedTuple):
    """The best value of an axis against the next: places, and the mean difference over the same prompts and seeds."""

    axis: int
    best: int
    other: int
    difference: Mean

    @property
    def sure(self) -> bool:
        """Whether zero is outside the interval of the difference."""
        return self.difference.reach is not None and self.difference.value > self.difference.reach


@dataclass(frozen=True)
class Means:
    """A grid in figures.

    Attributes:
        cells: a mean for each cell, in the plan's order.
        columns, rows, pages: a mean for each value of an axis, over all of the others.
        best: the cell with the highest mean, the first of equals.
        leads: the best value of each axis against its next.
    """

    cells: tuple[Mean, ...]
    columns: tuple[Mean, ...]
    rows: tuple[Mean, ...]
    pages: tuple[Mean, ...]
    best: int
    leads: tuple[Lead, ...]


def means(plan: Plan, scores: torch.Tensor) -> Means:
    """Return the figures of a grid. Shape: scores (B,) in the order of the plan's shots, finite."""
    alike = [(shot.prompt, shot.seed) for shot in plan.shots]
    values = scores.double().cpu()
    order = torch.arange(len(values)).view(plan.shape)  # (pages, rows, columns, variants)
    cells = [_mean(values, one.tolist(), alike) for one in order.flatten(0, 2)]
    margins = [
        tuple(_mean(values, order.select(dim, at).flatten().tolist(), alike) for at in range(plan.shape[dim]))
        for dim in (2, 1, 0)
    ]
    best = max(range(len(cells)), key=lambda cell: cells[cell].value)  # max keeps the first of equals
    leads = [_lead(plan, axis, margins[axis], values, order, alike) for axis in range(3)]
    columns, rows, pages = margins
    return Means(tuple(cells), columns, rows, pages, best, tuple(lead for lead in leads if lead is not None))


def _mean(values: torch.Tensor, rows: Sequence[int], alike: Sequence[Hashable]) -> Mean:
    groups = [alike[i] for i in rows]
    some = values[list(rows)]
    return Mean(float(some.mean()), mean_reach(some, groups) if len(set(groups)) >= _FEWEST else None)


def _lead(
    plan: Plan,
    axis: int,
    margin: Sequence[Mean],
    values: torch.Tensor,
    order: torch.Tensor,
    alike: Sequence[tuple[str, int]],
) -> Lead | None:
    """Compare the best two values of an axis, picture for picture; None for an axis that has no such pairs."""
    if len(margin) < 2 or plan.axes[axis].setting in ("prompt", "seed"):
        return None
    best, other = sorted(range(len(margin)), key=lambda at: -margin[at].value)[:2]
    dim = 2 - axis
    first, second = (order.select(dim, at).flatten().tolist() for at in (best, other))
    apart = values[first] - values[second]
    return Lead(axis, best, other, _mean(apart, range(len(apart)), [alike[i] for i in first]))


def in_words(plan: Plan, found: Means, main: str) -> str:
    """Say in a few lines which cell and which values are best, and how sure that is."""
    pages, rows, columns, variants = plan.shape
    count = f"{pages * rows * columns} cells of {variants} pictures, scored by {main}"
    lines = [count, f"best: {plan.words(found.best)} with {number(found.cells[found.best])}"]
    for lead in found.leads:
        axis = plan.axes[lead.axis]
        margin = (found.columns, found.rows, found.pages)[lead.axis]
        verdict = "which is more than chance" if lead.sure else "which may be chance"
        if lead.difference.reach is None:
            verdict = "of too few seeds to tell"
        lines.append(
            f"{axis.setting}: {axis.labels[lead.best]} is best with {number(margin[lead.best])}, "
            f"{number(lead.difference)} above {axis.labels[lead.other]}, {verdict}"
        )
    return "\n".join(lines)


def number(mean: Mean) -> str:
    """Write a mean with its interval: "+0.512 +- 0.103"."""
    return f"{mean.value:+.3f}" if mean.reach is None else f"{mean.value:+.3f} \u00b1 {mean.reach:.3f}"

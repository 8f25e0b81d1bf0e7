"""Rows in groups: numbers, order, ranks, the best of each. Pure; ties share a rank and keep their order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch


def rank(scores: torch.Tensor, groups: Sequence[Hashable] | None = None) -> torch.Tensor:
    """Rank each score inside its group: 1 is best; equal scores share the better rank.

    Shape: scores (B,), `groups` B labels or None for one group; result (B,) int64. Scores are finite.
    """
    values, labels = _columns(scores, groups)
    order = _order(values, labels)
    ordered, marks = values[order], labels[order]
    place = torch.arange(len(order))
    new_group = _starts(marks)
    new_value = new_group | _starts(ordered)
    first_of_group = torch.cummax(place * new_group, 0).values
    first_of_value = torch.cummax(place * new_value, 0).values
    ranks = torch.empty_like(place)
    ranks[order] = first_of_value - first_of_group + 1
    return ranks


def best_first(scores: torch.Tensor, groups: Sequence[Hashable] | None = None) -> list[int]:
    """Return indices, best first; group after group in order of first appearance. Ties keep their order."""
    return _order(*_columns(scores, groups)).tolist()


def group_numbers(groups: Sequence[Hashable]) -> torch.Tensor:
    """Return the numbers of groups in order of first appearance: labels of B rows to (B,) int64."""
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(label, len(numbers)) for label in groups], dtype=torch.int64)


def group_sizes(groups: Sequence[Hashable] | None, count: int) -> torch.Tensor:
    """Count the rows of each row's group: (B,) int64. None is one group of `count`."""
    if groups is None:
        return torch.full((count,), count)
    labels = group_numbers(groups)
    return torch.bincount(labels)[labels] if count else labels


def select_top(
    order: Sequence[int], top_k: int, groups: Sequence[Hashable] | None = None
) -> tuple[list[int], list[int]]:
    """Split an order into the first `top_k` of each group and the rest. `top_k` 0 keeps all."""
    kept: list[int] = []
    rejected: list[int] = []
    taken: dict[Hashable, int] = {}
    for i in order:
        label = None if groups is None else groups[i]
        taken[label] = taken.get(label, 0) + 1
        (kept if not top_k or taken[label] <= top_k else rejected).append(i)
    return kept, rejected


def _columns(scores: torch.Tensor, groups: Sequence[Hashable] | None) -> tuple[torch.Tensor, torch.Tensor]:
    values = scores.detach().double().cpu()
    labels = torch.zeros(len(values), dtype=torch.int64) if groups is None else group_numbers(groups)
    return values, labels


def _order(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """By group, then best first, then as they came: two stable sorts, the last one decides most."""
    by_value = torch.sort(values, descending=True, stable=True).indices
    return by_value[torch.sort(labels[by_value], stable=True).indices]


def _starts(column: torch.Tensor) -> torch.Tensor:
    """Mark where a run of equal entries begins: (B,) bool."""
    starts = torch.ones(len(column), dtype=torch.bool)
    starts[1:] = column[1:] != column[:-1]
    return starts

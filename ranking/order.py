"""Ranked rows to selections: group sizes and the best of each group. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from ..core.groups import best_first, group_numbers, rank

__all__ = ["best_first", "group_sizes", "rank", "select_top"]


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

"""Scores to ranks and selections. Pure; ties share a rank and keep their order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch


def rank(scores: torch.Tensor, groups: Sequence[Hashable] | None = None) -> torch.Tensor:
    """Rank of each score inside its group: 1 is best; equal scores share the better rank.

    Shape: scores (B,), `groups` B labels or None for one group; result (B,) int64.
    """
    values = scores.detach().double().cpu()
    better = values[None, :] > values[:, None]  # (B, B): does column beat row
    if groups is not None:
        labels = list(dict.fromkeys(groups))
        index = torch.tensor([labels.index(g) for g in groups])
        better &= index[None, :] == index[:, None]
    return better.sum(1) + 1


def best_first(scores: torch.Tensor, groups: Sequence[Hashable] | None = None) -> list[int]:
    """Indices, best first; group after group in order of first appearance. Ties keep their order."""
    values = scores.detach().double().tolist()
    labels = [None] * len(values) if groups is None else list(groups)
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return sorted(range(len(values)), key=lambda i: (order[labels[i]], -values[i], i))


def select_top(
    order: Sequence[int], top_k: int, groups: Sequence[Hashable] | None = None
) -> tuple[list[int], list[int]]:
    """Split an order into the first `top_k` of each group and the rest. `top_k` 0 keeps all."""
    kept, rejected, taken = [], [], {}
    for i in order:
        label = None if groups is None else groups[i]
        taken[label] = taken.get(label, 0) + 1
        (kept if not top_k or taken[label] <= top_k else rejected).append(i)
    return kept, rejected

"""How far two rewards agree on an order: Kendall's tau. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

import torch

from ..core.groups import group_numbers

_ROWS = 1024  # compared with all others at once


def agreement(a: torch.Tensor, b: torch.Tensor, groups: Sequence[Hashable] | None = None) -> float | None:
    """Compute Kendall's tau-b of two scores: 1 the same order, -1 the reverse, about 0 unrelated.

    Only pairs inside a group are compared; ties count as Kendall 1945 has them ("The treatment of ties in
    ranking problems", Biometrika 33). None where one of the two gives no pair different scores.

    Shape: a, b (B,), `groups` B labels or None for one group.
    """
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    labels = group_numbers([None] * len(a) if groups is None else groups)
    agree = differ_a = differ_b = 0.0
    for first in range(0, len(a), _ROWS):
        rows = slice(first, first + _ROWS)
        together = labels[rows, None] == labels[None]
        signs_a = torch.sign(a[rows, None] - a[None]) * together
        signs_b = torch.sign(b[rows, None] - b[None]) * together
        agree += float((signs_a * signs_b).sum())
        differ_a += float(signs_a.abs().sum())
        differ_b += float(signs_b.abs().sum())
    if not differ_a or not differ_b:
        return None
    return agree / (differ_a * differ_b) ** 0.5


def agreements(
    columns: Mapping[str, torch.Tensor], groups: Sequence[Hashable] | None = None
) -> dict[tuple[str, str], float | None]:
    """Compute `agreement` of every two columns of scores, by their names."""
    return {(x, y): agreement(columns[x], columns[y], groups) for x, y in combinations(columns, 2)}


def sampled(groups: Sequence[Hashable], most: int) -> list[int]:
    """Choose at most `most` rows for `agreement` to compare, all where they are no more than that.

    Only pairs inside a group count, so a group of one is left out, and of the others as many are taken, evenly, as
    have room for a pair; of each every n-th row.
    """
    if len(groups) <= most:
        return list(range(len(groups)))
    members: dict[Hashable, list[int]] = {}
    for row, label in enumerate(groups):
        members.setdefault(label, []).append(row)
    pairs = [rows for rows in members.values() if len(rows) > 1]
    taken = pairs[:: -(-2 * len(pairs) // most) or 1]
    room = most // max(1, len(taken))
    return [row for rows in taken for row in rows[:: -(-len(rows) // room)]]

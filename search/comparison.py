"""What best-of-N gives for the same compute: from a run's own pictures where they say it, else estimated. Pure."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import torch


def best_of(scores: torch.Tensor, count: int) -> float:
    """Return the mean best score of `count` of N unrelated pictures: the mean over all subsets, which is unbiased.

    sum over i of x_(i) C(i-1, n-1) / C(N, n), x_(1) the lowest. Shape: (N,). Raises ValueError for more than N.
    """
    ordered = scores.double().sort().values.tolist()
    total = len(ordered)
    if not 1 <= count <= total:
        raise ValueError(f"the best of {count} cannot be taken of {total}")
    ways = math.comb(total, count)
    return sum(x * (math.comb(i, count - 1) / ways) for i, x in enumerate(ordered))


def best_of_normal(scores: torch.Tensor, count: int) -> float:
    """Estimate the mean best of `count` from fewer pictures (N,), at least 2, as if scores were normal.

    mean + std * Phi^-1((n - .375) / (n + .25)) (Blom 1958). Scores have an upper end, so for many it says too much.
    """
    height = NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
    return float(scores.double().mean() + scores.double().std() * height)


class EqualCost(NamedTuple):
    """Compare one prompt's best picture with best-of-N at as many network evaluations.

    Attributes:
        best: the search's best score.
        baseline: best-of-N's, None where nothing is known of it.
        pictures: N.
        how: "measured", "from its own pictures", "estimated" or "not known".
    """

    best: float
    baseline: float | None
    pictures: int
    how: str


def equal_cost(scores: torch.Tensor, independent: int, pictures: int, measured: torch.Tensor | None) -> EqualCost:
    """Compare a prompt's scores (M,), the first `independent` of which are of unrelated pictures, with best of N.

    `measured`, if any, are the scores of N other pictures of the same cost.
    """
    best, own = float(scores.max()), scores[:independent]
    if measured is not None:
        return EqualCost(best, best_of(measured, min(pictures, len(measured))), pictures, "measured")
    if independent >= pictures:
        return EqualCost(best, best_of(own, pictures), pictures, "from its own pictures")
    if independent >= 4:
        return EqualCost(best, best_of_normal(own, pictures), pictures, "estimated")
    return EqualCost(best, None, pictures, "not known")

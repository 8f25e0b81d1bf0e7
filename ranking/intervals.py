"""95% confidence intervals of shares and means. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch

from ..core.errors import InputError

Z95 = NormalDist().inv_cdf(0.975)


class Interval(NamedTuple):
    """A share in [0, 1] and its 95% confidence interval."""

    value: float
    low: float
    high: float


def wilson_interval(wins: float, count: int) -> Interval:
    """Return a share and its 95% score interval (Wilson 1927), which stays in [0, 1] and stays accurate for small n.

    centre = (p + z^2 / 2n) / (1 + z^2 / n);  reach = z / (1 + z^2 / n) sqrt(p (1 - p) / n + z^2 / 4n^2).
    Raises InputError for a count of 0.
    """
    if count < 1:
        raise InputError("pairs", count, "There must be at least one pair to compare.")
    share, square = wins / count, Z95**2 / count
    centre = (share + square / 2) / (1 + square)
    reach = Z95 / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return Interval(share, max(0.0, centre - reach), min(1.0, centre + reach))


def win_rate(before: torch.Tensor, after: torch.Tensor) -> Interval:
    """Return how often `after` scores higher; a tie is half a win. Shape: both (B,)."""
    wins = float((after > before).sum()) + 0.5 * float((after == before).sum())
    return wilson_interval(wins, len(before))


def mean_reach(values: torch.Tensor, groups: Sequence[Hashable] | None = None) -> float:
    """Return how far the 95% interval of a mean reaches to either side (Student's t). Shape: (B,), B at least 2.

    `groups` says which prompt each value is of: pictures of one prompt are alike, so what counts is the variance of the
    C prompts' sums (cluster-robust: Liang & Zeger 1986, times C / (C - 1)). With one value of each prompt it is
    the usual one. Of a single prompt it is over its pictures, and holds for that prompt alone.
    """
    places = {group: i for i, group in enumerate(dict.fromkeys(groups or ()))}
    if len(places) < 2:
        groups = range(len(values))
        places = {i: i for i in groups}
    apart = values.double() - values.double().mean()
    sums = apart.new_zeros(len(places)).index_add_(0, torch.tensor([places[g] for g in groups or ()]), apart)
    error = math.sqrt(len(places) / (len(places) - 1) * float(sums.square().sum())) / len(values)
    return t95(len(places) - 1) * error


def t95(freedom: int) -> float:
    """Return the 97.5% point of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))

"""Particle steering (Feynman-Kac; Singhal et al. 2025, arXiv 2501.06848): weights, when to resample, and how. Pure.

Legend: N particles of one prompt, `now` (N,) the rewards of their predicted x0, `before` those of the last look.
"""

from __future__ import annotations

import torch

from .settings import POTENTIALS

_HALVINGS = 50


def first_reward(now: torch.Tensor) -> torch.Tensor:
    """Return what the first look compares with: for all the lowest reward, a constant that no weight keeps. (N,)."""
    return torch.full_like(now, float(now.min()))


def log_potential(now: torch.Tensor, before: torch.Tensor, strength: float, potential: str) -> torch.Tensor:
    """Return log G of one look, and so much of exp(strength * r) as it adds. Shape: all (N,).

    "difference": strength (now - before), which telescopes to strength r(x0) over a run. "max": strength
    (max(now, before) - before), where `before` is the best reward along the particle's path (section 3.2).
    """
    return strength * (remembered(now, before, potential) - before)


def remembered(now: torch.Tensor, before: torch.Tensor, potential: str) -> torch.Tensor:
    """Return the reward that the next look compares with: the last one, or the best of the path. Shape: (N,)."""
    if potential not in POTENTIALS:
        raise ValueError(f"potential {potential!r} is none of {POTENTIALS}")
    return now if potential == "difference" else torch.maximum(now, before)


def normalised(log_weights: torch.Tensor) -> torch.Tensor:
    """Return weights that sum to 1. Shape: (N,)."""
    return torch.softmax(log_weights.double(), 0)


def effective_sample_size(log_weights: torch.Tensor) -> float:
    """Return 1 / sum w^2 of the normalised weights, 1 to N (Kong 1992)."""
    return float(1 / normalised(log_weights).square().sum())


def adaptive_share(log_potentials: torch.Tensor, log_weights: torch.Tensor, least: float) -> float:
    """Return the largest share of a potential, 0 to 1, that leaves an effective sample size of at least `least` N.

    The temperature of Kim et al. 2025 (arXiv 2501.05803, section 4.2), by bisection: the weights are
    log_weights + share * log_potentials. 0 where the sample size is too small already.
    """
    wanted = least * len(log_weights)

    def enough(share: float) -> bool:
        return effective_sample_size(log_weights + share * log_potentials) >= wanted

    if enough(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def systematic(weights: torch.Tensor, offset: float) -> list[int]:
    """Draw N ancestors by systematic resampling (Kitagawa 1996): particle i has floor or ceil of N w_i children.

    Shape: weights (N,), summing to 1; `offset` in [0, 1) is the only random number. A particle that survives keeps its
    place, and its other children take the places of the dead: equal weights change nothing.
    """
    count = len(weights)
    points = (torch.arange(count, dtype=torch.float64) + offset) / count
    edges = torch.cumsum(weights.double(), 0)
    edges[-1] = 1.0  # rounding
    drawn = torch.searchsorted(edges, points, right=True).clamp(max=count - 1)
    children = torch.bincount(drawn, minlength=count).tolist()
    spare = [i for i, n in enumerate(children) for _ in range(n - 1)]
    return [i if n else spare.pop(0) for i, n in enumerate(children)]

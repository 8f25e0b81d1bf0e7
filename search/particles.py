"""Particle steering: weights of particles that tilt a sampler's law by exp(lambda r), and resampling. Pure.

Feynman-Kac steering (Singhal et al. 2025, arXiv 2501.06848). Over a run the potentials of a particle multiply to
exp(lambda r(x_0)), so that resampling by them leaves the law p(x) exp(lambda r(x)) / Z. Legend: P particles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

_HALF = 0.5  # of the particles: below so large an effective sample size they are drawn anew


class Weighed(NamedTuple):
    """What the potentials have made of the particles so far; all (P,), float64.

    Attributes:
        pending: log-weights since the particles were last drawn anew.
        given: the sum of all log-weights on each particle's way.
        best: the best reward on its way.
    """

    pending: torch.Tensor
    given: torch.Tensor
    best: torch.Tensor

    @staticmethod
    def equal(count: int) -> Weighed:
        """Return particles that nothing has weighed yet."""
        zeros = torch.zeros(count, dtype=torch.float64)
        return Weighed(zeros, zeros, torch.full_like(zeros, -math.inf))

    def look(self, potential: str, rewards: torch.Tensor, temperature: float, *, last: bool) -> Weighed:
        """Weigh particles by rewards (P,) of their predicted pictures; `last` where those are the finished ones.

        "difference": G = exp(lambda (r - r at the look before)). "maximum": G = exp(lambda max of r so far), and at the
        last look what is missing. Both multiply to exp(lambda r(x_0)). Section 3.2 of the paper.
        """
        rewards = rewards.double()
        best = torch.maximum(self.best, rewards)
        target = temperature * rewards
        if potential == "difference" or last:
            log_weights = target - self.given
        elif potential == "maximum":
            log_weights = temperature * best
        else:
            raise ValueError(f"potential {potential!r} is none")
        return Weighed(self.pending + log_weights, self.given + log_weights, best)

    def drawn(self, ancestors: torch.Tensor) -> Weighed:
        """Return the particles that were drawn anew: each goes on as its ancestor, and all weigh the same."""
        return Weighed(torch.zeros_like(self.pending), self.given[ancestors], self.best[ancestors])


def effective_size(log_weights: torch.Tensor) -> float:
    """Compute 1 / sum w^2 of normalised weights: P where all are equal, 1 where one has it all."""
    weights = torch.softmax(log_weights.double(), 0)
    return float(1.0 / weights.square().sum())


def needs_resampling(log_weights: torch.Tensor) -> bool:
    """Return whether the effective sample size is below half the particles."""
    return effective_size(log_weights) < _HALF * len(log_weights)


def systematic(log_weights: torch.Tensor, offset: float) -> torch.Tensor:
    """Draw P ancestors by systematic resampling (Kitagawa 1996): one throw for all. Shape: (P,) int64, rising.

    `offset` in [0, 1) is that throw. A particle of weight w has floor(P w) or ceil(P w) copies; with equal weights
    each has one, in its own place.
    """
    count = len(log_weights)
    edges = torch.softmax(log_weights.double(), 0).cumsum(0)
    points = (torch.arange(count, dtype=torch.float64) + offset) / count
    return torch.searchsorted(edges, points, right=True).clamp(max=count - 1)


def in_place(ancestors: torch.Tensor) -> torch.Tensor:
    """Put each ancestor that lives on in its own place, and copies in the places of those that died."""
    count = len(ancestors)
    copies = torch.bincount(ancestors, minlength=count)
    placed = torch.where(copies > 0, torch.arange(count), torch.full((count,), -1))
    extra = torch.repeat_interleave(torch.arange(count), (copies - 1).clamp(min=0))
    placed[placed < 0] = extra
    return placed


def adapted(temperature: float, rewards: torch.Tensor) -> float:
    """Return lambda for rewards of another scale: `temperature` divided by their standard deviation.

    One particle, or equal rewards, have no scale: 0, which steers nothing.
    """
    spread = float(rewards.double().std(correction=0)) if len(rewards) > 1 else 0.0
    return temperature / spread if spread > 1e-9 and math.isfinite(spread) else 0.0

"""Rewards to advantages: how much better a picture is than what it is compared with, in standard deviations.

Legend: B pictures. All arithmetic is float64, since scores in one epoch can lie close together.
Scores that differ by no more than float32's rounding are equal, and equal scores teach nothing: their
advantages are 0, not rounding blown up to size.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import torch

from ..core.errors import InputError
from ..rewards.combined import in_groups, places
from ..rewards.reward import check_scores

ROUNDING = 1e-6  # standard deviations below this share of the largest score are rounding; float32 has 1.2e-7


def check_rewards(rewards: torch.Tensor, name: str, prompts: Sequence[str]) -> torch.Tensor:
    """Return scores as float64 (B,) on the CPU, checked. `name` is the reward's.

    Raises InputError when there is not one number for each picture, NonFiniteError for NaN and infinity,
    with the reward, the picture and its prompt.
    """
    found = tuple(rewards.shape) if isinstance(rewards, torch.Tensor) else type(rewards).__name__
    if found != (len(prompts),):
        raise InputError("reward", found, f"{name} must give one score for each of the {len(prompts)} pictures.")
    then = " Training stopped, and nothing was learned from it."
    return check_scores(name, rewards.detach().double().cpu(), prompts, of=f" of {len(prompts)}", then=then)


def normalised(rewards: torch.Tensor, reference: torch.Tensor, min_spread: float = 0.0) -> torch.Tensor:
    """Return (rewards - mean) / std of `reference`, and zeros where its scores are equal up to rounding.

    Shape: rewards (B,), reference (R,), both float64; result (B,). The std is the population's, as
    numpy's in the paper's code, and counts as `min_spread` where it is smaller.
    """
    std = reference.std(correction=0)
    if std <= ROUNDING * reference.abs().max():
        return torch.zeros_like(rewards)
    return (rewards - reference.mean()) / std.clamp(min=min_spread)


def batch_advantages(rewards: torch.Tensor, min_spread: float = 0.0) -> torch.Tensor:
    """Standardise each score against all of the batch. Shape: (B,) to (B,), float64."""
    return normalised(rewards, rewards, min_spread)


def group_advantages(rewards: torch.Tensor, groups: Sequence[str], min_spread: float = 0.0) -> torch.Tensor:
    """Standardise each score within its own group (GRPO, arXiv 2402.03300, sec. 4.1). Shape: (B,) to (B,)."""
    return in_groups(rewards, groups, lambda own: normalised(own, own, min_spread))


def _rows_by(labels: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the rows of each label, in one pass over them."""
    rows: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    return {label: torch.tensor(found) for label, found in rows.items()}


class PromptHistory:
    """Remember the last scores of each prompt, over epochs (Black et al. 2023, app. D.3).

    A prompt with fewer than `minimum` of them is compared with the whole batch.
    """

    def __init__(self, size: int, minimum: int) -> None:
        self._size, self._minimum = size, minimum
        self._scores: dict[str, deque[float]] = {}

    def advantages(self, rewards: torch.Tensor, prompts: Sequence[str], min_spread: float = 0.0) -> torch.Tensor:
        """Remember this batch's scores, then standardise each against its prompt's. Shape: (B,) to (B,), float64."""
        advantages = batch_advantages(rewards, min_spread)
        for prompt, rows in _rows_by(prompts).items():
            known = self._scores.setdefault(prompt, deque(maxlen=self._size))
            known.extend(rewards[rows].tolist())
            if len(known) >= self._minimum:
                reference = torch.tensor(list(known), dtype=torch.float64)
                advantages[rows] = normalised(rewards[rows], reference, min_spread)
        return advantages

    def state(self) -> dict[str, list[float]]:
        """Return what is remembered, for a JSON file."""
        return {prompt: list(scores) for prompt, scores in self._scores.items()}

    def load(self, state: Mapping[str, Sequence[float]]) -> None:
        """Put `state()` back."""
        self._scores = {p: deque((float(s) for s in scores), maxlen=self._size) for p, scores in state.items()}


def keep_extremes(advantages: torch.Tensor, share: float) -> torch.Tensor:
    """Keep the largest `share` of advantages, up and down, and zeros for the rest. Shape: (B,) to (B,).

    The nearer to 0 the less there is to learn: of a normal distribution, the outer half holds 93% of the
    squares. DanceGRPO (arXiv 2505.07818) learns from the best and the worst in the same way.
    """
    count = max(1, math.ceil(share * len(advantages) - 1e-9))
    kept = advantages.abs().argsort(descending=True, stable=True)[:count]
    return torch.zeros_like(advantages).index_copy(0, kept, advantages[kept])


def saturated(advantages: torch.Tensor, at: float) -> torch.Tensor:
    """Return advantages from -1 to 1: those `at` standard deviations away, and further, count as 1. Shape: (B,)."""
    return (advantages / at).clamp(-1, 1)


def weighted_sum(parts: Sequence[tuple[torch.Tensor, float]], limit: float, *, balanced: bool = False) -> torch.Tensor:
    """Return the weighted sum of (advantages, weight) pairs, clipped to +- limit. Shape: each (B,) to float32 (B,).

    Each reward was normalised by itself before this, so that a weight means the same whatever scale a
    reward has. With `balanced` the sum of several is standardised over the batch, so that its size does not depend on
    how many there are and how far they agree (GDPO).
    """
    total = sum(weight * advantages for advantages, weight in parts)
    if balanced and len(parts) > 1:
        total = normalised(total, total)
    return total.clamp(-limit, limit).float()


def disagreement(columns: Sequence[torch.Tensor], groups: Sequence[str]) -> torch.Tensor:
    """Return how far rewards disagree about each picture: the standard deviation of its ranks (GARDO, 2512.24138).

    Ranks are within the picture's group, from 0 for the lowest to 1, equal scores sharing their mean; the deviation is
    the population's over the rewards: 0 where they agree, 0.5 where one of two says best and the other worst.
    Shape: columns each (B,), groups B labels; result (B,) float64.
    """
    return torch.stack([in_groups(column.double(), groups, places) for column in columns]).std(dim=0, correction=0)


DISAGREE = 0.25  # of `disagreement`: two rewards whose ranks of a picture are half the group apart


def gate(columns: Sequence[torch.Tensor], groups: Sequence[str]) -> torch.Tensor:
    """Return 1 for each picture about which the rewards disagree, else 0; 1 for all where one reward is known.

    Shape: columns each (B,); result (B,) float32.
    """
    if len(columns) < 2:
        return torch.ones(len(groups))
    return (disagreement(columns, groups) > DISAGREE).float()

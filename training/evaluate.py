"""Held-out comparison: base against tuned, on the same prompts and seeds, in pairs.

Legend: B pictures of the base and B of the tuned model; picture i of both has the same prompt and seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..ranking.intervals import win_rate
from .advantages import check_rewards
from .scoring import scored


def diversity(images: torch.Tensor, groups: Sequence[str]) -> float:
    """Mean distance of two pictures of one prompt: root mean square over pixels and channels.

    Shape: images (B, H, W, 3) in [0, 1]. 0 is the same picture again and again, or one picture a prompt.
    """
    distances = []
    for group in dict.fromkeys(groups):
        rows = torch.tensor([g == group for g in groups])
        flat = images[rows].flatten(1).double()  # (n, H * W * 3)
        if len(flat) > 1:
            distances.append(torch.pdist(flat) / math.sqrt(flat.shape[1]))
    return float(torch.cat(distances).mean()) if distances else 0.0


def compare(
    base: torch.Tensor,
    tuned: torch.Tensor,
    prompts: Sequence[str],
    rewards: Sequence[tuple[str, Any]],
    count: Callable[[int], None] = lambda more: None,
) -> dict[str, Any]:
    """Figures of the comparison, as they go into a report: JSON.

    Shape: base and tuned (B, H, W, 3). `rewards` are (name, reward) pairs. For each: means, the base's
    spread, the gain in spreads of the base, and the win rate with its interval. `count` is told how many
    pictures more were scored; what it raises stops it.
    Raises NonFiniteError or InputError naming the reward, the picture and the prompt.
    """
    found: dict[str, Any] = {"pictures": len(base), "rewards": {}}
    for name, reward in rewards:
        before, after = (
            check_rewards(torch.as_tensor(scored(reward, images, prompts, count)), name, prompts)
            for images in (base, tuned)
        )
        spread = float(before.std(correction=0))
        wins = win_rate(before, after)
        gain = float(after.mean() - before.mean())
        found["rewards"][name] = {
            "base": float(before.mean()),
            "tuned": float(after.mean()),
            "base_std": spread,
            "gain_in_base_std": gain / spread if spread > 0 else 0.0,
            "win_rate": wins.value,
            "win_rate_low": wins.low,
            "win_rate_high": wins.high,
        }
    found["diversity_base"], found["diversity_tuned"] = diversity(base, prompts), diversity(tuned, prompts)
    return found


def best_so_far(values: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` values were all no better than the best before them: time to stop."""
    if not patience or len(values) <= patience:
        return False
    return max(values[-patience:]) <= max(values[:-patience])

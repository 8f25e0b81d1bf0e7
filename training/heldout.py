"""Held-out comparison: base against tuned, on the same prompts and seeds, in pairs.

Legend: B pictures of the base and B of the tuned model; picture i of both has the same prompt and seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..core.errors import InputError
from ..core.progress import Cancellable, Progress
from ..core.randomness import derived_seed
from ..core.texts import check_prompts
from ..loaders.model import DiffusionModel
from ..ranking.intervals import win_rate
from ..sampling.prompts import check_readable
from .advantages import check_rewards
from .config import FineTuneConfig
from .guard import WATCHED
from .rollout import Request
from .scoring import RewardFunction, RewardTerm, call_reward, reward_name

if TYPE_CHECKING:
    from .algorithms.base import Algorithm


def diversity(images: torch.Tensor, groups: Sequence[str]) -> float:
    """Compute the mean distance of two pictures of one prompt: root mean square over pixels and channels.

    Shape: images (B, H, W, 3) in [0, 1]. 0 is the same picture again and again, or one picture a prompt.
    """
    distances = []
    for group in dict.fromkeys(groups):
        rows = torch.tensor([g == group for g in groups])
        flat = images[rows].flatten(1).double()  # (n, H * W * 3)
        if len(flat) > 1:
            distances.append(torch.pdist(flat) / math.sqrt(flat.shape[1]))
    return float(torch.cat(distances).mean()) if distances else 0.0


def standard_error(before: torch.Tensor, after: torch.Tensor) -> float:
    """Compute that of the mean change of pairs: std(after - before) / sqrt(B), the sample's; 0 for one pair.

    Shape: both (B,) float64.
    """
    change = after - before
    return float(change.std(correction=1)) / math.sqrt(len(change)) if len(change) > 1 else 0.0


def compare(
    base: torch.Tensor,
    tuned: torch.Tensor,
    prompts: Sequence[str],
    rewards: Sequence[tuple[str, Any]],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare pictures of two models; return the figures as they go into a report: JSON.

    Shape: base and tuned (B, H, W, 3). `rewards` are (name, reward) pairs. For each: means, the base's standard
    deviation, the paired change with its standard error, the gain in the base's deviations, and the win rate with its
    interval. Progress advances by pictures scored.
    Raises NonFiniteError or InputError naming the reward, the picture and the prompt.
    """
    progress = progress or Progress()
    found: dict[str, Any] = {"pictures": len(base), "rewards": {}}
    for name, reward in rewards:
        before, after = (
            check_rewards(torch.as_tensor(call_reward(reward, images, prompts, progress)), name, prompts)
            for images in (base, tuned)
        )
        std = float(before.std(correction=0))
        wins = win_rate(before, after)
        gain = float(after.mean() - before.mean())
        found["rewards"][name] = {
            "base": float(before.mean()),
            "tuned": float(after.mean()),
            "base_std": std,
            "change": gain,
            "standard_error": standard_error(before, after),
            "gain_in_base_std": gain / std if std > 0 else 0.0,
            "win_rate": wins.value,
            "win_rate_low": wins.low,
            "win_rate_high": wins.high,
        }
    found["diversity_base"], found["diversity_tuned"] = diversity(base, prompts), diversity(tuned, prompts)
    return found


def best_so_far(values: Sequence[float], patience: int) -> bool:
    """Return whether the last `patience` values were all no better than the best before them: time to stop."""
    if not patience or len(values) <= patience:
        return False
    return max(values[-patience:]) <= max(values[:-patience])


class HeldOut:
    """Compare a run with its base as it goes on, at prompts and seeds that are not trained on.

    The prompts are the trained ones where none are given; the base's pictures are made once.
    Raises InputError for prompts the model cannot read, and for what no comparison would use.
    """

    def __init__(
        self,
        model: DiffusionModel,
        config: FineTuneConfig,
        trained: Sequence[str],
        prompts: Sequence[str] | None,
        watched: RewardFunction | None,
    ) -> None:
        given = list(prompts or [])
        _check_given(model, config, given, watched)
        self._fresh = bool(given)
        texts = given or list(trained)
        count = config.evaluate_samples
        each = max(2, count // len(texts))  # two of a prompt at least, so that diversity means something
        self.prompts = [texts[i // each % len(texts)] for i in range(count)]
        self.seeds = [derived_seed(config.seed, "held out", i) for i in range(count)]
        self.watched_reward = watched
        self._base: torch.Tensor | None = None
        self._base_afterwards: torch.Tensor | None = None

    def evaluate(self, algorithm: Algorithm, progress: Progress) -> dict[str, Any]:
        """Compare base and tuned by the training sampler, and by a user's under `afterwards`, as `compare` does."""
        worker, request = algorithm.worker, Request(self.prompts, self.seeds)
        steps = len(self.prompts) * len(worker.schedule.timesteps)
        progress.phase("evaluating", steps if self._base is not None else 2 * steps)
        if self._base is None:
            self._base = algorithm.sample(request, progress, base=True)
        tuned = algorithm.sample(request, progress, averaged=True)
        rewards = [(term.name, term.score) for term in algorithm.scorer.terms]
        if self.watched_reward is not None:
            rewards.append((_watched_name(self.watched_reward), self.watched_reward))
        uncounted = Cancellable(progress)
        found = {
            "held_out_prompts": self._fresh,
            **compare(self._base, tuned, self.prompts, rewards, uncounted),
        }
        if worker.config.evaluate_steps:
            if self._base_afterwards is None:
                self._base_afterwards = worker.sample_afterwards(worker.model, self.prompts, self.seeds, uncounted)
            with worker.learner.as_sampled() as model:
                tuned = worker.sample_afterwards(model, self.prompts, self.seeds, uncounted)
            found["afterwards"] = compare(self._base_afterwards, tuned, self.prompts, rewards, uncounted)
        return found

    def watched(self, evaluations: Sequence[Mapping[str, Any]], terms: Sequence[RewardTerm]) -> list[float]:
        """Return the figures that stop a run early: means of the watched reward, or of the first trained one.

        Comparisons of a part of the run that had other prompts or another watched reward are left out.
        """
        if self.watched_reward is None and not terms:
            return []
        name = terms[0].name if self.watched_reward is None else _watched_name(self.watched_reward)
        rows = [e["rewards"].get(name) for e in evaluations if e.get("held_out_prompts") == self._fresh]
        return [float(row["tuned"]) for row in rows if row is not None]


def _check_given(
    model: DiffusionModel, config: FineTuneConfig, prompts: list[str], watched: RewardFunction | None
) -> None:
    if watched is not None and not callable(watched):
        raise InputError("watched_reward", watched, "A reward takes pictures and prompts and returns scores.")
    check_prompts(prompts, "held_out_prompts")
    check_readable(model, prompts, "held_out_prompts")
    if not all(text.strip() for text in prompts):
        raise InputError("held_out_prompts", prompts, "None of them may be empty.")
    for name, value in (("held_out_prompts", prompts or None), ("watched_reward", watched)):
        if value is not None and not config.evaluate_every:
            raise InputError(name, value, "No comparison is made that would use it: set evaluate_every above 0.")


def _watched_name(reward: RewardFunction) -> str:
    return f"{WATCHED}{reward_name(reward)}"

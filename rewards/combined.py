"""Several rewards as one: a weighted sum of standardised scores, or of ranks. Every part stays visible.

Legend: B pictures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..core.errors import InputError
from ..core.groups import group_numbers
from ..core.progress import Progress, Scaled
from ..images.convert import check_images
from .reward import Reward
from .statistics import Statistics

if TYPE_CHECKING:
    from PIL import Image

MODES = ("ranks", "batch", "standardised")
GROUPS = ("prompt", "all")
MAX_WEIGHT = 100.0


def combine(
    weighted: Sequence[tuple[Reward, float]],
    *,
    mode: str = "standardised",
    group_by: str = "prompt",
    statistics: Mapping[str, Statistics] | None = None,
    name: str = "combined",
) -> CombinedReward:
    """Make one reward of several: the sum of weight x comparable score.

    Args:
        weighted: rewards and their weights; a negative weight punishes.
        mode: what makes scores comparable. `"standardised"`: (score - mean) / std of the reward's usual scores, so
            that a picture's score does not depend on the others. `"batch"`: the same with the mean and std of the
            group at hand. `"ranks"`: the place in the group, 0 worst to 1 best, equal scores in the middle.
        group_by: the groups of `"batch"` and `"ranks"`: pictures of one `"prompt"`, or `"all"` scored together.
        statistics: for rewards that have none of their own, or instead of them, by name.
        name: of the sum's column.

    Raises InputError for an unknown mode, a bad weight, two columns of one name, or missing statistics.
    """
    if mode not in MODES:
        raise InputError("mode", mode, f"Pick one of {', '.join(MODES)}.")
    if group_by not in GROUPS:
        raise InputError("group_by", group_by, f"Pick one of {', '.join(GROUPS)}.")
    rewards = [reward for reward, _ in weighted]
    weights = tuple(_weight(reward, weight) for reward, weight in weighted)
    names = [reward.name for reward in rewards]
    if not rewards or not any(weights):
        raise InputError("weights", list(weights), "At least one reward needs a weight that is not 0.")
    columns = [name, *(column for reward in rewards for column in reward.column_names)]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError("rewards", twice[0], "Two columns would have this name; every reward counts once.")
    own = {r.name: r.statistics for r in rewards if r.statistics is not None} | dict(statistics or {})
    if mode == "standardised":
        _check_statistics(names, own)
    gradients = mode == "standardised" and all(reward.differentiable for reward in rewards)
    used = tuple(own.get(n) for n in names) if mode == "standardised" else (None,) * len(names)
    return CombinedReward(
        name=name,
        score=_not_alone,
        needs_prompt=any(reward.needs_prompt for reward in rewards),
        meaning=_meaning(mode, names, weights),
        fingerprint=_fingerprint(rewards, weights, mode, group_by, used),
        modules={f"{r.name}/{key}": module for r in rewards for key, module in r.modules.items()},
        gradient_score=_gradient(rewards, weights, used) if gradients else None,
        rewards=tuple(rewards),
        weights=weights,
        mode=mode,
        group_by=group_by,
        used=used,
    )


@dataclass(frozen=True, eq=False)
class CombinedReward(Reward):
    """What `combine` makes.

    Attributes:
        rewards, weights: the members.
        mode, group_by: as `combine` takes them.
        used: each member's statistics in the standardised mode, else None.
    """

    rewards: tuple[Reward, ...] = ()
    weights: tuple[float, ...] = ()
    mode: str = "standardised"
    group_by: str = "prompt"
    used: tuple[Statistics | None, ...] = ()

    @property
    def members(self) -> tuple[Reward, ...]:
        return self.rewards

    @property
    def silent(self) -> CombinedReward:
        return replace(self, rewards=tuple(reward.silent for reward in self.rewards))

    @property
    def relative(self) -> bool:
        return self.mode != "standardised" or any(reward.relative for reward in self.rewards)

    def columns(
        self, images: torch.Tensor, prompts: str | Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the combined scores first, then those of the members, however deep: a name -> float32 (B,)."""
        texts = self._texts(prompts, len(check_images(images)))
        return self._joined(lambda reward, part: reward.columns(images, texts, progress=part), texts, progress)

    def picture_columns(
        self,
        pictures: Sequence[Image.Image | Path | str],
        prompts: str | Sequence[str],
        *,
        progress: Progress | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return `columns` of PIL images or image files; each reward opens them anew."""
        texts = self._texts(prompts, len(pictures))

        def of(reward: Reward, part: Progress) -> dict[str, torch.Tensor]:
            return reward.picture_columns(pictures, texts, progress=part)

        return self._joined(of, texts, progress)

    def total(self, columns: Mapping[str, torch.Tensor], prompts: Sequence[str]) -> torch.Tensor:
        """Sum members' scores by name, one prompt each: the combined scores, float32 (B,)."""
        groups = list(prompts) if self.group_by == "prompt" else [None] * len(prompts)
        sums = torch.zeros(len(prompts), dtype=torch.float64)
        for reward, weight, statistics in zip(self.rewards, self.weights, self.used, strict=True):
            scores = columns[reward.name].double()
            if statistics is not None:
                made = (scores - statistics.mean) / statistics.std
            elif self.mode == "ranks":
                made = in_groups(scores, groups, places)
            else:
                made = in_groups(scores, groups, standard_scores)
            sums += weight * made
        return sums.float()

    def _joined(
        self,
        columns_of: Callable[[Reward, Progress], dict[str, torch.Tensor]],
        texts: Sequence[str],
        progress: Progress | None,
    ) -> dict[str, torch.Tensor]:
        progress = progress or Progress()
        joined: dict[str, torch.Tensor] = {}
        progress.phase(f"scoring with {self.name}", len(texts))
        ends = [len(texts) * (i + 1) // len(self.rewards) for i in range(len(self.rewards))]
        for reward, begin, end in zip(self.rewards, [0, *ends], ends, strict=False):
            joined |= columns_of(reward, Scaled(progress, end - begin))
        return {self.name: self.total(joined, texts), **joined}


def _not_alone(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    raise InputError("reward", "combined", "A combined reward is called as a whole.")


# --- making scores comparable -----------------------------------------------------------------


def in_groups(
    scores: torch.Tensor, groups: Sequence[Hashable], made: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Apply `made` to the scores of each group by itself. Shape: (B,), B labels -> (B,)."""
    numbers = group_numbers(groups)
    result = torch.empty_like(scores)
    for rows in numbers.argsort(stable=True).split(numbers.bincount().tolist()):
        result[rows] = made(scores[rows])
    return result


def standard_scores(scores: torch.Tensor) -> torch.Tensor:
    """Compute z-scores by the population's standard deviation; 0 where all are the same. (B,) -> (B,)."""
    centred = scores - scores.mean()
    std = centred.square().mean().sqrt()
    # one of rounding only says nothing
    floor = 1e-9 * max(1.0, float(scores.abs().max()))
    return centred / std if float(std) > floor else torch.zeros_like(scores)


def places(scores: torch.Tensor) -> torch.Tensor:
    """Return the share of the others that each score is above, equal ones counting half: 0 worst, 1 best.

    One score alone has the middle, 0.5. Shape: (B,) -> (B,).
    """
    if len(scores) == 1:
        return torch.full_like(scores, 0.5)
    _, inverse, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    below = counts.cumsum(0) - counts
    return (below[inverse] + (counts[inverse] - 1) / 2).to(scores.dtype) / (len(scores) - 1)


def measured(reward: Reward, images: torch.Tensor, prompts: str | Sequence[str], source: str) -> Statistics:
    """Measure mean and standard deviation of a reward's scores of images (B, H, W, 3), at least two.

    `source` says which images they are. Raises InputError when all scores are the same.
    """
    scores = reward(images, prompts).double()
    std = float(scores.std()) if len(scores) > 1 else 0.0
    if not std > 0:
        raise InputError(
            "images", len(scores), f"{reward.name} gives them no different scores: their standard deviation is 0."
        )
    return Statistics(float(scores.mean()), std, source)


# --- checks and names -------------------------------------------------------------------------


def _weight(reward: Reward, weight: float) -> float:
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not number or not math.isfinite(weight) or abs(weight) > MAX_WEIGHT:
        raise InputError(
            "weight", weight, f"The weight of {reward.name} is a number from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}."
        )
    return float(weight)


def _check_statistics(names: Sequence[str], known: Mapping[str, Statistics]) -> None:
    for name in names:
        if name not in known:
            raise InputError(
                "mode",
                "standardised",
                f"No mean and standard deviation are known of {name}. Pick batch or ranks, or, in the library, give "
                "statistics.",
            )
        mean, std = known[name].mean, known[name].std
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise InputError(
                "statistics",
                (mean, std),
                f"The mean and standard deviation of {name} must be numbers, the latter above 0.",
            )


def _gradient(
    rewards: Sequence[Reward], weights: Sequence[float], used: Sequence[Statistics | None]
) -> Callable[[torch.Tensor, Sequence[str]], torch.Tensor]:
    def score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        parts = (
            weight * (reward.with_gradient(images, prompts) - s.mean) / s.std
            for reward, weight, s in zip(rewards, weights, used, strict=True)
            if s is not None
        )
        return torch.stack(list(parts)).sum(0)

    return score


def _meaning(mode: str, names: Sequence[str], weights: Sequence[float]) -> str:
    terms = " + ".join(f"{weight:g} x {name}" for name, weight in zip(names, weights, strict=True))
    how = {
        "standardised": "each as (score - usual mean) / usual standard deviation",
        "batch": "each as (score - mean) / standard deviation of its group",
        "ranks": "each as its place in its group, 0 worst to 1 best",
    }
    return f"{terms}, {how[mode]}."


def _fingerprint(
    rewards: Sequence[Reward],
    weights: Sequence[float],
    mode: str,
    group_by: str,
    used: Sequence[Statistics | None],
) -> str:
    terms = [
        f"{reward.fingerprint} {weight!r} {s and (s.mean, s.std)!r}"
        for reward, weight, s in zip(rewards, weights, used, strict=True)
    ]
    return hashlib.sha256("\n".join(["combined", mode, group_by, *terms]).encode()).hexdigest()[:16]

"""Scores of an epoch's pictures, and the advantages they make."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..core.errors import InputError
from ..core.progress import Progress, Within
from .advantages import PromptHistory, batch_advantages, check_rewards, gate, group_advantages, weighted_sum
from .config import FineTuneConfig
from .epoch import Epoch
from .processes import SingleProcess

RewardFunction = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]
# one reward, or several with the weight of each
Rewards = RewardFunction | Sequence[tuple[RewardFunction, float]]


class RewardTerm(NamedTuple):
    """Describe a reward that is trained on.

    Attributes:
        score: its function.
        name: in reports and messages.
        weight: among several.
        parts: columns of a combined reward with the weight of each, which are normalised one by one; empty for all
            others, whose first column counts.
    """

    score: Any
    name: str
    weight: float
    parts: tuple[tuple[str, float], ...] = ()

    @property
    def trained_on(self) -> tuple[tuple[str, float], ...]:
        """Return (column, weight) of everything that gets advantages of its own."""
        if not self.parts:
            return ((self.name, self.weight),)
        return tuple((f"{self.name}: {part}", self.weight * weight) for part, weight in self.parts)


class ScoredEpoch(NamedTuple):
    """Hold the scores of an epoch's B pictures, those of all processes.

    Attributes:
        advantages: (B,) float32.
        total: (B,) float64, the weighted sum of the scores, for people to watch.
        columns: each reward's scores by name, (B,) float64; parts of combined rewards too.
        held: (B,) float32, 1 for a picture that the distance to the base counts for, else 0 (`kl_gate`).
    """

    advantages: torch.Tensor
    total: torch.Tensor
    columns: dict[str, torch.Tensor]
    held: torch.Tensor


def reward_name(reward: Any) -> str:
    """Return what a reward is called in messages and metrics."""
    return str(getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__)


def combined_parts(reward: Any) -> tuple[tuple[str, float], ...]:
    """Return (name, weight) of the members of a weighted sum, nothing for other rewards.

    From `column_weights`, a mapping, or what `rewards.combine` makes. A sum of ranks is trained on as it is: ranks
    are what was asked for.
    """
    weights = getattr(reward, "column_weights", None)
    if weights is None and getattr(reward, "mode", "") in ("standardised", "batch"):
        weights = {r.name: w for r, w in zip(reward.rewards, reward.weights, strict=True)}
    return tuple((str(name), float(weight)) for name, weight in dict(weights or {}).items() if weight)


def check_terms(reward: Rewards) -> list[RewardTerm]:
    """Return the rewards to train on. Raises InputError for what is none, and for weights that are no numbers."""
    given = list(reward) if isinstance(reward, Sequence) else [(reward, 1.0)]
    terms: list[RewardTerm] = []
    for entry in given:
        score, weight = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, 1.0)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not callable(score):
            raise InputError("reward", score, "A reward takes pictures and prompts and returns scores.")
        if not number or not abs(weight) < 1e6 or weight == 0:
            raise InputError("reward", weight, "A reward's weight is a number other than 0.")
        name = reward_name(score)
        taken = sum(term.name == name for term in terms)
        name = f"{name} {taken + 1}" if taken else name
        terms.append(RewardTerm(score, name, float(weight), combined_parts(score)))
    if not terms:
        raise InputError("reward", given, "Connect at least one reward.")
    return terms


class Scorer:
    """Score epochs with the rewards that are trained on, and remember the scores of each prompt."""

    def __init__(
        self,
        terms: Sequence[RewardTerm],
        config: FineTuneConfig,
        processes: SingleProcess,
        watched: RewardFunction | None = None,
    ) -> None:
        self.terms, self._config, self._processes, self._watched = tuple(terms), config, processes, watched
        self._histories = {
            name: PromptHistory(config.history, config.min_history) for term in terms for name, _ in term.trained_on
        }

    def score_epoch(self, images: torch.Tensor, epoch: Epoch, progress: Progress) -> ScoredEpoch:
        """Score this process's pictures and compare them with those of all processes.

        Shape: images (B / world_size, H, W, 3) of the epoch's local rows; results are of all B. Each reward is
        normalised by itself before the weighted sum.
        Raises NonFiniteError or InputError naming the reward, the picture and the prompt.
        """
        progress.phase("scoring", len(images) * len(self.terms))
        local = self.columns(images, epoch.local_prompts, progress)
        columns = {name: self._processes.all_gather(scores) for name, scores in local.items()}
        return self.compared(columns, epoch)._replace(held=self._held(images, epoch, columns, progress))

    def columns(self, images: torch.Tensor, prompts: Sequence[str], progress: Progress) -> dict[str, torch.Tensor]:
        """Score pictures (B, H, W, 3) by every term: each column's scores (B,). Raises as `score_epoch`."""
        progress.check_cancelled()
        found: dict[str, torch.Tensor] = {}
        for term in self.terms:
            for name, scores in _columns(term, images, prompts, progress).items():
                found[name] = check_rewards(torch.as_tensor(scores), name, prompts)
        return found

    def compared(self, columns: Mapping[str, torch.Tensor], epoch: Epoch) -> ScoredEpoch:
        """Compare the scores of all B pictures of an epoch; the distance to the base counts for all of them."""
        parts, total = [], torch.zeros(len(epoch.prompts), dtype=torch.float64)
        for term in self.terms:
            total += term.weight * columns[term.name]
            parts += [(self._advantages(name, columns[name], epoch), weight) for name, weight in term.trained_on]
        balanced = self._config.balance_rewards == "on"
        advantages = weighted_sum(parts, self._config.advantage_clip, balanced=balanced)
        return ScoredEpoch(advantages, total, dict(columns), torch.ones(len(epoch.prompts)))

    def _held(
        self, images: torch.Tensor, epoch: Epoch, columns: Mapping[str, torch.Tensor], progress: Progress
    ) -> torch.Tensor:
        """Return which pictures the distance to the base counts for: all, or those the rewards disagree about."""
        if self._config.kl_gate == "off" or not self._config.base_weight:
            return torch.ones(len(epoch.prompts))
        # ranks say nothing of the size of a weight, but those of one below 0 are the other way round
        ranked = [columns[name] * math.copysign(1, weight) for term in self.terms for name, weight in term.trained_on]
        if self._watched is not None:
            name = reward_name(self._watched)
            scores = call_reward(self._watched, images, epoch.local_prompts, progress)
            local = check_rewards(torch.as_tensor(scores), name, epoch.local_prompts)
            ranked.append(self._processes.all_gather(local))
        return gate(ranked, epoch.groups)

    def _advantages(self, name: str, scores: torch.Tensor, epoch: Epoch) -> torch.Tensor:
        config = self._config
        if config.advantages == "group":
            return group_advantages(scores, epoch.groups, config.min_spread)
        if config.advantages == "prompt":
            return self._histories[name].advantages(scores, epoch.prompts, config.min_spread)
        return batch_advantages(scores, config.min_spread)

    def identity(self) -> list[list[Any]]:
        """Return what must be the same for a run to go on: rewards with their weights, a watched one that gates too."""
        terms = [(term.name, term.weight, term.score) for term in self.terms]
        if self._watched is not None and self._config.kl_gate != "off":
            terms.append((reward_name(self._watched), 0.0, self._watched))
        return [[name, weight, getattr(score, "fingerprint", None)] for name, weight, score in terms]

    def state(self) -> dict[str, dict[str, list[float]]]:
        """Return the scores remembered, by column and prompt, for a JSON file."""
        return {name: history.state() for name, history in self._histories.items()}

    def load(self, state: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Put `state()` back."""
        for name, history in self._histories.items():
            history.load(state.get(name, {}))


def _columns(
    term: RewardTerm, images: torch.Tensor, prompts: Sequence[str], progress: Progress
) -> dict[str, torch.Tensor]:
    """Return a reward's columns, what is trained on first."""
    if not hasattr(term.score, "columns"):
        return {term.name: call_reward(term.score, images, prompts, progress)}
    found = dict(call_reward(term.score.columns, images, prompts, progress))
    first = next(iter(found))
    return {term.name: found.pop(first), **{f"{term.name}: {k}": v for k, v in found.items()}}


def call_reward(function: Callable[..., Any], images: torch.Tensor, prompts: Sequence[str], progress: Progress) -> Any:
    """Return what a reward makes of pictures. It gets copies, so that none can change what others see.

    Progress advances by as many pictures as there are: after each batch of a reward that takes `progress`, as ours do,
    else at the end.
    """
    counted = _Counted(progress)
    taken = {"progress": counted} if "progress" in _parameters(function) else {}
    with torch.no_grad():
        found = function(images.clone(), list(prompts), **taken)
    progress.advance(len(images) - counted.done)
    return found


class _Counted(Within):
    """Remember how much was counted."""

    def __init__(self, outer: Progress) -> None:
        super().__init__(outer)
        self.done = 0

    def advance(self, count: int = 1) -> None:
        self.done += count
        super().advance(count)


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have none to show
        return ()

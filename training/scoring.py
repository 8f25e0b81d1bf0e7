"""Scores of an epoch's pictures, and the advantages they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..core.errors import InputError
from ..core.progress import Progress
from .advantages import PromptHistory, batch_advantages, check_rewards, combined, group_advantages
from .config import DDPOConfig
from .processes import Alone

RewardFunction = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]
# one reward, or several with the weight of each
Rewards = RewardFunction | Sequence[tuple[RewardFunction, float]]


class Judge(NamedTuple):
    """A reward that is trained on.

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
        """(column, weight) of everything that gets advantages of its own."""
        if not self.parts:
            return ((self.name, self.weight),)
        return tuple((f"{self.name}: {part}", self.weight * weight) for part, weight in self.parts)


class Judged(NamedTuple):
    """B pictures judged.

    Attributes:
        advantages: (B,) float32.
        total: (B,) float64, the weighed sum of the scores, for people to watch.
        columns: each reward's scores by name, (B,) float64; parts of combined rewards too.
    """

    advantages: torch.Tensor
    total: torch.Tensor
    columns: dict[str, torch.Tensor]


def reward_name(reward: Any) -> str:
    """What a reward is called in messages and metrics."""
    return str(getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__)


def combined_parts(reward: Any) -> tuple[tuple[str, float], ...]:
    """(name, weight) of the members of a weighed sum, empty for other rewards.

    From `column_weights`, a mapping, or what `rewards.combine` makes. A sum of ranks is trained on as it is: ranks
    are what was asked for.
    """
    weights = getattr(reward, "column_weights", None)
    if weights is None and getattr(reward, "mode", "") in ("standardised", "batch"):
        weights = {r.name: w for r, w in zip(reward.rewards, reward.weights, strict=True)}
    return tuple((str(name), float(weight)) for name, weight in dict(weights or {}).items() if weight)


def check_judges(reward: Rewards) -> list[Judge]:
    """The rewards to train on. Raises InputError for what is none, and for weights that are no numbers."""
    given = list(reward) if isinstance(reward, Sequence) else [(reward, 1.0)]
    judges: list[Judge] = []
    for entry in given:
        score, weight = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, 1.0)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not callable(score):
            raise InputError("reward", score, "A reward takes pictures and prompts and returns scores.")
        if not number or not abs(weight) < 1e6 or weight == 0:
            raise InputError("reward", weight, "A reward's weight is a number other than 0.")
        name = reward_name(score)
        taken = sum(j.name == name for j in judges)
        name = f"{name} {taken + 1}" if taken else name
        judges.append(Judge(score, name, float(weight), combined_parts(score)))
    if not judges:
        raise InputError("reward", given, "Connect at least one reward.")
    return judges


def judge(
    judges: Sequence[Judge],
    histories: Mapping[str, PromptHistory],
    images: torch.Tensor,
    prompts: Sequence[str],
    everybody: Sequence[str],
    groups: Sequence[str],
    config: DDPOConfig,
    processes: Alone,
    count: Callable[[int], None],
) -> Judged:
    """Score this process's pictures and weigh them against everybody's.

    Shape: images (B / world, H, W, 3), `prompts` as many, `everybody` the B prompts of all processes, `groups`
    what each of them is compared with by advantages "group"; results are of all B. `histories` are by column.
    Each reward is normalised by itself before it is weighed. `count` is told how many pictures more a reward has
    scored; what it raises stops the scoring.
    Raises NonFiniteError or InputError naming the reward, the picture and the prompt.
    """
    columns: dict[str, torch.Tensor] = {}
    parts, total = [], torch.zeros(len(everybody), dtype=torch.float64)
    for one in judges:
        for name, column in _score(one, images, prompts, count).items():
            mine = torch.as_tensor(column).detach().double().cpu()
            if mine.shape != (len(prompts),):
                check_rewards(mine, name, prompts)
            columns[name] = check_rewards(processes.gather(mine), name, everybody)
        total += one.weight * columns[one.name]
        parts += [
            (_advantages(columns[name], everybody, groups, config, histories[name]), weight)
            for name, weight in one.trained_on
        ]
    return Judged(combined(parts, config.advantage_clip), total, columns)


def _score(
    one: Judge, images: torch.Tensor, prompts: Sequence[str], count: Callable[[int], None]
) -> dict[str, torch.Tensor]:
    """A reward's columns, what is trained on first."""
    if not hasattr(one.score, "columns"):
        return {one.name: scored(one.score, images, prompts, count)}
    found = dict(scored(one.score.columns, images, prompts, count))
    first = next(iter(found))
    return {one.name: found.pop(first), **{f"{one.name}: {k}": v for k, v in found.items()}}


def scored(
    function: Callable[..., Any], images: torch.Tensor, prompts: Sequence[str], count: Callable[[int], None]
) -> Any:
    """What a reward makes of pictures. It gets copies, so that none can change what others see.

    `count` gets as many pictures as there are: after each batch of a reward that takes `progress`, as ours do, else at
    the end.
    """
    counted = _Counted(count)
    taken = {"progress": counted} if "progress" in _parameters(function) else {}
    with torch.no_grad():
        found = function(images.clone(), list(prompts), **taken)
    count(len(images) - counted.done)
    return found


class _Counted(Progress):
    """Hands what is done to a function."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count, self.done = count, 0

    def advance(self, count: int = 1) -> None:
        self._count(count)
        self.done += count


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have none to show
        return ()


def _advantages(
    rewards: torch.Tensor,
    prompts: Sequence[str],
    groups: Sequence[str],
    config: DDPOConfig,
    history: PromptHistory,
) -> torch.Tensor:
    if config.advantages == "group":
        return group_advantages(rewards, groups, config.min_spread)
    if config.advantages == "prompt":
        return history.advantages(rewards, prompts, config.min_spread)
    return batch_advantages(rewards, config.min_spread)

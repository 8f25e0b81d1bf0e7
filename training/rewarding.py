"""Scores of an epoch's pictures, and the advantages they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from ..loaders.errors import InputError
from .advantages import PromptHistory, batch_advantages, check_rewards, combined, group_advantages
from .config import DDPOConfig
from .processes import Alone

RewardFunction = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]
# one reward, or several with the weight of each
Rewards = RewardFunction | Sequence[tuple[RewardFunction, float]]


class Judge(NamedTuple):
    """A reward that is trained on: its function, its name, and its weight among several."""

    score: Any
    name: str
    weight: float


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
        judges.append(Judge(score, f"{name} {taken + 1}" if taken else name, float(weight)))
    if not judges:
        raise InputError("reward", given, "Connect at least one reward.")
    return judges


def judge(
    judges: Sequence[Judge],
    histories: Sequence[PromptHistory],
    images: torch.Tensor,
    prompts: Sequence[str],
    everybody: Sequence[str],
    config: DDPOConfig,
    processes: Alone,
) -> Judged:
    """Score this process's pictures and weigh them against everybody's.

    Shape: images (B / world, H, W, 3), `prompts` as many, `everybody` the B prompts of all processes;
    results are of all B. Each reward is normalised by itself before it is weighed.
    Raises NonFiniteError or InputError naming the reward, the picture and the prompt.
    """
    columns: dict[str, torch.Tensor] = {}
    parts, total = [], torch.zeros(len(everybody), dtype=torch.float64)
    for one, history in zip(judges, histories, strict=True):
        scores = _score(one, images, prompts)
        main = None
        for name, column in scores.items():
            mine = torch.as_tensor(column).detach().double().cpu()
            if mine.shape != (len(prompts),):
                check_rewards(mine, name, prompts)
            found = check_rewards(processes.gather(mine), name, everybody)
            columns[name] = found
            main = found if main is None else main
        total += one.weight * main
        parts.append((_advantages(main, everybody, config, history), one.weight))
    return Judged(combined(parts, config.advantage_clip), total, columns)


def _score(one: Judge, images: torch.Tensor, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
    """A reward's columns, what is trained on first. Rewards get copies, so that none can change what others see."""
    with torch.no_grad():
        if hasattr(one.score, "columns"):
            found = dict(one.score.columns(images.clone(), list(prompts)))
            first = next(iter(found))
            return {one.name: found.pop(first), **{f"{one.name}: {k}": v for k, v in found.items()}}
        return {one.name: one.score(images.clone(), list(prompts))}


def _advantages(
    rewards: torch.Tensor, prompts: Sequence[str], config: DDPOConfig, history: PromptHistory
) -> torch.Tensor:
    if config.advantages == "group":
        return group_advantages(rewards, prompts)
    if config.advantages == "prompt":
        return history.advantages(rewards, prompts)
    return batch_advantages(rewards)

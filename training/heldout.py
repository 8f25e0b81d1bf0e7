"""The comparison with the untrained model that a run makes as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..loaders.errors import InputError
from ..loaders.model import DiffusionModel
from ..loaders.texts import check_prompts
from ..sampling.prompts import check_readable
from .config import DDPOConfig
from .evaluate import compare
from .randomness import derived_seed
from .rewarding import Judge, RewardFunction, reward_name

if TYPE_CHECKING:
    from .worker import Worker


class HeldOut:
    """Seeds that are not trained on, prompts that are not either where some are given, and the base's pictures of them.

    The base's pictures are made once.
    Raises InputError for prompts the model cannot read, and for what no comparison would use.
    """

    def __init__(
        self,
        model: DiffusionModel,
        config: DDPOConfig,
        trained: Sequence[str],
        prompts: Sequence[str] | None,
        watched: RewardFunction | None,
    ) -> None:
        if watched is not None and not callable(watched):
            raise InputError("watched_reward", watched, "A reward takes pictures and prompts and returns scores.")
        given = list(prompts or [])
        check_prompts(given, "held_out_prompts")
        check_readable(model, given, "held_out_prompts")
        if not all(text.strip() for text in given):
            raise InputError("held_out_prompts", given, "None of them may be empty.")
        for name, value in (("held_out_prompts", given or None), ("watched_reward", watched)):
            if value is not None and not config.evaluate_every:
                raise InputError(name, value, "No comparison is made that would use it: set evaluate_every above 0.")
        self._fresh = bool(given)
        texts = given or list(trained)
        count = config.evaluate_samples
        each = max(2, count // len(texts))  # two of a prompt at least, so that diversity means something
        self.prompts = [texts[i // each % len(texts)] for i in range(count)]
        self.seeds = [derived_seed(config.seed, "held out", i) for i in range(count)]
        self.watched_reward = watched
        self._base: torch.Tensor | None = None

    def evaluate(
        self, worker: Worker, judges: Sequence[Judge], counting: Callable[[int], Callable[[int], None]]
    ) -> dict[str, Any]:
        """Base against tuned with the training sampler; the figures of `compare`."""
        steps = len(self.prompts) * len(worker.schedule.timesteps)
        counter = counting(steps if self._base is not None else 2 * steps)
        if self._base is None:
            self._base = worker.sample(self.prompts, self.seeds, counter, base=True)[1]
        tuned = worker.sample(self.prompts, self.seeds, counter, averaged=True)[1]
        rewards = [(j.name, j.score) for j in judges]
        if self.watched_reward is not None:
            rewards.append((_watched_name(self.watched_reward), self.watched_reward))
        compared = compare(self._base, tuned, self.prompts, rewards, lambda more: counter(0))
        return {"held_out_prompts": self._fresh, **compared}

    def watched(self, evaluations: Sequence[Mapping[str, Any]], judges: Sequence[Judge]) -> list[float]:
        """The figures that stop a run early: means of the watched reward, or of the first trained one.

        Comparisons of a part of the run that had other prompts or another watched reward are left out.
        """
        name = judges[0].name if self.watched_reward is None else _watched_name(self.watched_reward)
        rows = [e["rewards"].get(name) for e in evaluations if e["held_out_prompts"] == self._fresh]
        return [float(row["tuned"]) for row in rows if row is not None]


def _watched_name(reward: RewardFunction) -> str:
    return f"watched: {reward_name(reward)}"

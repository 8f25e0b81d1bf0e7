"""The comparison with the untrained model that a run makes as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..loaders.errors import InputError
from ..loaders.model import DiffusionModel
from ..sampling.inputs import prompts_each
from .config import DDPOConfig
from .evaluate import compare
from .randomness import derived_seed
from .rewarding import Judge, RewardFunction, reward_name

if TYPE_CHECKING:
    from .worker import Worker


class HeldOut:
    """Prompts and seeds that are not trained on, and the base's pictures of them, made once.

    Raises InputError for prompts the model cannot read.
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
        if given:
            prompts_each(model, given, "", len(given))
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
            rewards.append((f"watched: {reward_name(self.watched_reward)}", self.watched_reward))
        return {"held_out_prompts": self._fresh, **compare(self._base, tuned, self.prompts, rewards)}

    def watched(self, evaluation: Mapping[str, Any], judges: Sequence[Judge]) -> float:
        """The figure that stops a run early: the watched reward's mean, or the first trained one's."""
        names = list(evaluation["rewards"])
        name = names[-1] if self.watched_reward is not None else judges[0].name
        return float(evaluation["rewards"][name]["tuned"])

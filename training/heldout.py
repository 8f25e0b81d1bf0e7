"""The comparison with the untrained model that a run makes as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..core.errors import InputError
from ..core.progress import Progress
from ..core.texts import check_prompts
from ..loaders.model import DiffusionModel
from ..sampling.loop import sample
from ..sampling.prompts import check_readable
from ..sampling.settings import SampleOptions, SampleSettings
from .config import DDPOConfig
from .evaluate import compare
from .randomness import derived_seed
from .scoring import Judge, RewardFunction, reward_name

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
        self._base_afterwards: torch.Tensor | None = None

    def evaluate(
        self, worker: Worker, judges: Sequence[Judge], counting: Callable[[int], Callable[[int], None]]
    ) -> dict[str, Any]:
        """Base against tuned by the training sampler: the figures of `compare`; `afterwards` has them by a user's."""
        steps = len(self.prompts) * len(worker.schedule.timesteps)
        counter = counting(steps if self._base is not None else 2 * steps)
        if self._base is None:
            self._base = worker.sample(self.prompts, self.seeds, counter, base=True)[1]
        tuned = worker.sample(self.prompts, self.seeds, counter, averaged=True)[1]
        rewards = [(j.name, j.score) for j in judges]
        if self.watched_reward is not None:
            rewards.append((_watched_name(self.watched_reward), self.watched_reward))
        cancel = partial(counter, 0)
        found = {
            "held_out_prompts": self._fresh,
            **compare(self._base, tuned, self.prompts, rewards, lambda more: cancel()),
        }
        if worker.config.evaluate_steps:
            pictures = self._afterwards(worker, cancel)
            found["afterwards"] = compare(*pictures, self.prompts, rewards, lambda more: cancel())
        return found

    def _afterwards(self, worker: Worker, cancel: Callable[[], None]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures of base and tuned as they are sampled after training. Shape: both (B, H, W, 3)."""
        config = worker.config

        def pictures(model: DiffusionModel) -> torch.Tensor:
            height, width = worker.size
            settings = SampleSettings("ddim", config.evaluate_steps, config.guidance_scale, height=height, width=width)
            return sample(
                model,
                self.prompts if model.conditional else "",
                settings,
                negative_prompt=worker.negative_prompt if model.conditional else "",
                seeds=self.seeds,
                options=SampleOptions(at_once=config.rollout_batch_size),
                progress=_Cancels(cancel),
                place=worker.place,
            ).images

        if self._base_afterwards is None:
            self._base_afterwards = pictures(worker.model)
        with worker.learner.as_sampled() as tuned:
            return self._base_afterwards, pictures(tuned)

    def watched(self, evaluations: Sequence[Mapping[str, Any]], judges: Sequence[Judge]) -> list[float]:
        """The figures that stop a run early: means of the watched reward, or of the first trained one.

        Comparisons of a part of the run that had other prompts or another watched reward are left out.
        """
        name = judges[0].name if self.watched_reward is None else _watched_name(self.watched_reward)
        rows = [e["rewards"].get(name) for e in evaluations if e["held_out_prompts"] == self._fresh]
        return [float(row["tuned"]) for row in rows if row is not None]


class _Cancels(Progress):
    """Calls a function that may raise a cancel after each step."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel

    def advance(self, count: int = 1) -> None:
        self._cancel()


def _watched_name(reward: RewardFunction) -> str:
    return f"watched: {reward_name(reward)}"

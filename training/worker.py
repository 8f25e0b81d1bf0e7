"""What every epoch uses: model, learner, schedule, encoded prompts, and memory's manager."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from ..core.errors import InputError
from ..core.progress import Place, stay
from ..loaders.lora.apply import applied_loras
from ..loaders.model import DiffusionModel
from ..sampling.decode import decode, vae_bytes
from ..sampling.guidance import Network, is_guided, unet_bytes
from ..sampling.inputs import picture_size
from ..sampling.prompts import Encoded, PromptCache, encode_with_negative
from ..sampling.schedules import GaussianSchedule
from ..sampling.settings import SampleSettings
from .algorithms.loss import scaled_clip_range
from .algorithms.step import Objective
from .config import DDPOConfig
from .learner.learner import Learner
from .learner.memory import check_kept, check_memory, copy_bytes, kept_bytes, learning_bytes
from .processes import Alone
from .rollout import OPTIONS, rollout, step_stds, training_schedule
from .trajectory import Trajectory, learnable_steps

_DECODED = 8  # pictures between two chances to cancel


class Worker:
    """The parts of a run that every epoch uses: model, learner, schedule, prompts, memory."""

    def __init__(
        self,
        model: DiffusionModel,
        config: DDPOConfig,
        negative_prompt: str,
        place: Place | None,
        processes: Alone,
    ) -> None:
        self.model, self.config, self.processes = model, config, processes
        self.negative_prompt = negative_prompt
        self.place = place or stay
        settings = SampleSettings(height=config.height, width=config.width)
        self.size = picture_size(model, settings, None, None)
        self.schedule = training_schedule(model, config)
        check_window(self.schedule, config)
        height, width = self.size
        self.elements = model.channels * (height // model.downscale) * (width // model.downscale)
        self.guided = is_guided(model, config.guidance_scale)
        self._cache = PromptCache(4096)
        self.learner = self._learner()
        self.objective = Objective(
            config.algorithm,
            scaled_clip_range(config.clip_range, self.elements),
            config.kl_weight,
            float(self.elements) if self.learner.policy.dtype == torch.float16 else 1.0,
        )

    def _learner(self) -> Learner:
        """What learns, made where the UNet computes, once all that it will take was found to be free."""
        model, config = self.model, self.config
        kept = kept_bytes(config, self.elements, self.size, self.processes.world)
        check_kept(config, kept)
        rows = config.train_batch_size * (2 if self.guided else 1)
        self.learning_bytes = learning_bytes(model, config, rows, self.size)
        needed = self.learning_bytes + copy_bytes(model, config)
        with self.placed(model, needed):  # which makes a host free what other models hold
            check_memory(config, needed + (kept if model.device.type == "cpu" else 0), model.device)
            return Learner(model, config)

    def placed(self, model: DiffusionModel, working_bytes: int = 0) -> AbstractContextManager[None]:
        """The UNet where it computes."""
        return self.place([model.unet], working_bytes)

    def placed_to_learn(self) -> AbstractContextManager[None]:
        """All that learning runs where it computes: the policy's UNet, and the base's own that KL compares with."""
        unets = [self.learner.policy.unet]
        if self.config.kl_weight and unets[0] is not self.model.unet:
            unets.append(self.model.unet)
        return self.place(unets, self.learning_bytes)

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return self.learner.policy.device

    def encode(self, prompts: Sequence[str]) -> tuple[list[Encoded], Encoded | None]:
        """Prompts and the negative one; text encoders are in place only for what is not known yet."""
        negative = self.negative_prompt if self.guided else None
        return encode_with_negative(self._cache, self.model, prompts, negative, self.place)

    def network(self, model: DiffusionModel, prompts: Sequence[str]) -> Network:
        """The guided network of some rows, for learning."""
        encoded, negative = self.encode(prompts)
        return Network(
            model, encoded, negative, guidance_scale=self.config.guidance_scale, size=self.size, options=OPTIONS
        )

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        on_step: Callable[[int], None],
        *,
        starts: Sequence[int] | None = None,
        base: bool = False,
        averaged: bool = False,
    ) -> tuple[Trajectory, torch.Tensor]:
        """Trajectory and pictures (B, H, W, 3) of the policy as it is now, or of the base.

        `starts` are seeds of the first noise, where pictures share it.
        """
        encoded, negative = self.encode(prompts)
        model = self.model if base else self.learner.policy
        rows = 2 if self.guided else 1
        at_once = min(self.config.rollout_batch_size or len(seeds), len(seeds))
        active = applied_loras(model, ("unet",)) if base else self.learner.active(averaged=averaged)
        with self.placed(model, at_once * unet_bytes(model, *self.size, rows)), active:
            trajectory = rollout(
                model, self.schedule, self.config, self.size, prompts, seeds, encoded, negative, on_step, starts
            )
        with self.place([self.model.vae] if self.model.vae else [], vae_bytes(self.model, *self.size, 1)):
            return trajectory, self._decoded(trajectory.latents[:, -1], on_step)

    def _decoded(self, latents: torch.Tensor, told: Callable[[int], None]) -> torch.Tensor:
        """Pictures of latents, a few at a time: between them `told` is told of no more steps, so that it can cancel."""
        parts = []
        for some in latents.split(_DECODED):
            told(0)
            parts.append(decode(self.model, some))
        return torch.cat(parts)


def check_window(schedule: GaussianSchedule, config: DDPOConfig) -> None:
    """Raises InputError when no step with noise is in the window that is learned from."""
    if not learnable_steps(step_stds(schedule), config.window_start, config.window_stop):
        window = (config.window_start, config.window_stop)
        advice = "No step with noise lies between window_start and window_stop. Widen the window, or take more steps."
        raise InputError("window_start", window, advice)

"""What every epoch uses: model, learner, schedule, encoded prompts, and where modules compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ..core.memory import fitting
from ..core.progress import Place, Progress, stay
from ..loaders.lora.apply import applied_loras
from ..loaders.model import DiffusionModel
from ..sampling.decode import decode, vae_bytes
from ..sampling.guidance import Network, is_guided, most_at_once, unet_bytes
from ..sampling.inputs import picture_size
from ..sampling.loop import sample
from ..sampling.prompts import Encoded, PromptCache, encode_with_negative
from ..sampling.schedules import Schedule
from ..sampling.settings import SampleOptions, SampleSettings
from .algorithms.registry import KNOWN
from .config import FineTuneConfig
from .learner.learner import Learner
from .learner.memory import check_kept, check_memory, copy_bytes, fitting_pairs, kept_bytes, learning_costs
from .learner.optimizer import LossScale
from .processes import SingleProcess
from .rollout import Request, final_latents, rollout, training_schedule
from .trajectory import Trajectory

OPTIONS = SampleOptions()
MOST_PAIRS = 16  # that learn together where memory decides: more gain nothing (28 ms a pair of 512 px, 32: 25)
_DECODED = 8  # pictures between two chances to cancel


class Worker:
    """Hold the parts of a run that every epoch uses.

    Args:
        schedule: what pictures are sampled by while training; None is `training_schedule`'s.

    Raises:
        InputError: a size or a schedule that the model cannot have.
        OutOfMemoryError: learning, or an epoch's pictures, would take more than is free.
    """

    def __init__(
        self,
        model: DiffusionModel,
        config: FineTuneConfig,
        negative_prompt: str = "",
        place: Place | None = None,
        processes: SingleProcess | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.model, self.config, self.negative_prompt = model, config, negative_prompt
        self.place, self.processes = place or stay, processes or SingleProcess()
        settings = SampleSettings(height=config.height, width=config.width)
        self.size = picture_size(model, settings, None, None)
        self.schedule = schedule or training_schedule(model, config)
        height, width = self.size
        self.elements = model.channels * (height // model.downscale) * (width // model.downscale)
        self.guided = is_guided(model, config.guidance_scale)
        self._learns_guided = self.guided and KNOWN[config.algorithm].guided
        self._cache = PromptCache(4096)
        self.learner = self._learner()
        # float16 gradients of a mean over so many elements would vanish
        self._scale = LossScale(float(self.elements)) if self.learner.policy.dtype == torch.float16 else None

    def _learner(self) -> Learner:
        """Make what learns where the UNet computes, once all that it will take was found to be free."""
        model, config = self.model, self.config
        kept = kept_bytes(config, self.elements, self.size, self.processes.world_size)
        check_kept(config, kept)
        each = 2 if self._learns_guided else 1
        most = config.train_batch_size or MOST_PAIRS
        fixed, row = learning_costs(model, config, self.size)
        self._fixed, self._each = fixed, each * row
        self._choose_batch(most)
        needed = self.learning_bytes + copy_bytes(model, config)
        with self.place([model.unet], needed):  # which makes a host free what other models hold
            check_memory(config, needed + (kept if model.device.type == "cpu" else 0), model.device)
            return Learner(model, config)

    def _choose_batch(self, most: int) -> None:
        self.train_batch_size = most
        if not self.config.train_batch_size and self.model.device.type == "cuda":
            other = self._fixed + copy_bytes(self.model, self.config)
            self.train_batch_size = fitting_pairs(self._each, other, most, self.model.device)
        self.learning_bytes = self._fixed + self.train_batch_size * self._each

    def keep_more(self, each: int) -> None:
        """Count `each` bytes more for every pair that is learned from at once: what an algorithm keeps itself.

        Where the batch is chosen by memory it gets smaller. Raises OutOfMemoryError where that does not fit.
        """
        self._each += each
        self._choose_batch(self.train_batch_size)
        check_memory(self.config, self.learning_bytes, self.model.device)

    @property
    def gradient_scale(self) -> float:
        """Return what losses are multiplied by before gradients are computed."""
        return 1.0 if self._scale is None else self._scale.value

    def step(self) -> list[float]:
        """Make an update from the gradients at hand; return their length, or nothing where they overflowed float16.

        The next ones are then half as large. Raises NonFiniteError where that does not help.
        """

        def step(scale: float) -> float:
            return self.learner.step(scale, self.processes.all_reduce_sum)

        return [step(1.0)] if self._scale is None else self._scale.taken(step)

    @property
    def device(self) -> torch.device:
        """Return where the policy is."""
        return self.learner.policy.device

    # --- to learn -------------------------------------------------------------------------------

    @contextmanager
    def learning(self, also: Sequence[nn.Module] = ()) -> Iterator[None]:
        """Run the policy with gradients for a `with` block, in place, the base's own too where it is needed.

        `also` are other modules that gradients pass through.
        """
        unets = [self.learner.policy.unet]
        if (self.config.base_weight or self.config.rehearsal_weight) and self.model.unet is not unets[0]:
            unets.append(self.model.unet)
        with self.place([*unets, *also], self.learning_bytes), self.learner.active(learning=True):
            yield

    def network(self, model: DiffusionModel, prompts: Sequence[str]) -> Network:
        """Return the network of some rows as it learns: guided, where the algorithm learns with guidance on."""
        encoded, negative = self.encode(prompts)
        return self._network(model, encoded, negative if self._learns_guided else None)

    def encode(self, prompts: Sequence[str]) -> tuple[list[Encoded], Encoded | None]:
        """Encode prompts and the negative one; text encoders are in place only for what is not known yet."""
        negative = self.negative_prompt if self.guided else None
        return encode_with_negative(self._cache, self.model, prompts, negative, self.place)

    def _network(self, model: DiffusionModel, encoded: Sequence[Encoded], negative: Encoded | None) -> Network:
        scale = self.config.guidance_scale
        return Network(model, encoded, negative, guidance_scale=scale, size=self.size, options=OPTIONS)

    # --- to sample ------------------------------------------------------------------------------

    def sample(
        self, request: Request, progress: Progress, *, base: bool = False, averaged: bool = False
    ) -> tuple[Trajectory, torch.Tensor]:
        """Return trajectory and pictures (B, H, W, 3) of the policy as it is now, of its average, or of the base."""
        trajectory = self._run(rollout, request, progress, base, averaged)
        return trajectory, self.decode(trajectory.latents[:, -1], progress)

    def sample_latents(
        self,
        request: Request,
        progress: Progress,
        *,
        base: bool = False,
        averaged: bool = False,
        before_last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return finished latents (B, C, h, w) of the same three, by a schedule of any kind.

        `before_last` (B, C, h, w) is filled with what the network was given in the last step.
        """
        return self._run(partial(final_latents, before_last=before_last), request, progress, base, averaged)

    def _run(
        self, sampler: Callable[..., Any], request: Request, progress: Progress, base: bool, averaged: bool
    ) -> Any:
        """Run `rollout` or `final_latents`, its network in place."""
        encoded, negative = self.encode(request.prompts)
        model, count = self.model if base else self.learner.policy, len(request.seeds)
        rows = 2 if self.guided else 1
        each, most = unet_bytes(model, *self.size, rows), most_at_once(model, *self.size, rows)
        wanted = self.config.rollout_batch_size
        active = applied_loras(model, ("unet",)) if base else self.learner.active(averaged=averaged)
        with self.place([model.unet], min(wanted or count, count) * each), active:
            return sampler(
                model,
                self.schedule,
                lambda rows: self._network(model, encoded[rows], negative),
                request,
                self.size,
                wanted or fitting(each, count, model.device, most),
                progress,
            )

    def decode(self, latents: torch.Tensor, progress: Progress) -> torch.Tensor:
        """Return the pictures of latents, with chances to cancel. Shape: (B, C, h, w) to (B, H, W, 3)."""
        vae = [self.model.vae] if self.model.vae else []
        parts = []
        with self.place(vae, vae_bytes(self.model, *self.size, 1)):
            for some in latents.split(_DECODED):
                progress.check_cancelled()
                parts.append(decode(self.model, some))
        return torch.cat(parts)

    def sample_afterwards(
        self, model: DiffusionModel, prompts: Sequence[str], seeds: Sequence[int], progress: Progress
    ) -> torch.Tensor:
        """Return pictures as one samples after training: ddim without fresh noise. Shape: (B, H, W, 3)."""
        config, (height, width) = self.config, self.size
        settings = SampleSettings("ddim", config.evaluate_steps, config.guidance_scale, height=height, width=width)
        return sample(
            model,
            list(prompts) if model.conditional else "",
            settings,
            negative_prompt=self.negative_prompt if model.conditional else "",
            seeds=seeds,
            options=SampleOptions(at_once=config.rollout_batch_size),
            progress=progress,
            place=self.place,
        ).images

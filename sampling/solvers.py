"""Solvers that keep a history: diffusers' own schedulers behind our `Schedule` protocol."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from .noise import ImageNoise, to_device
from .steps import Coefficients, Stepped, predict_x0


class SolverSchedule:
    """One of diffusers' schedulers, from the first to the last timestep of `part`.

    It keeps a history, so one object serves one batch, in order and once. It may have more timesteps than
    steps: PNDM and DPM++ SDE look at some steps more than once. Samples are x0 + sigma noise where `in_sigmas`,
    else sqrt(a) x0 + sqrt(1-a) noise.

    PNDM started in the middle does as diffusers' does: its second evaluation goes back a step as if it had been
    to the same timestep twice, and the rest runs one level late. Some noise stays (a perfect network of data of
    deviation 0.500 ends at 0.513 in the last 10 of 20 steps).

    A network that predicts the clean sample, under a scheduler built for epsilon (diffusers' PNDM knows no
    other way), has its output turned into epsilon first: `predicts` is the network's prediction type, by
    default the scheduler's.
    """

    def __init__(self, scheduler: Any, part: range, *, in_sigmas: bool, predicts: str | None = None) -> None:
        self._scheduler, self._part = scheduler, part
        self._predicts = predicts or scheduler.config.prediction_type
        self.timesteps = tuple(scheduler.timesteps[i].item() for i in part)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(part.start)  # or it would search for the first timestep
        self._in_sigmas = in_sigmas
        self._takes_generators = "generator" in inspect.signature(scheduler.step).parameters
        self._takes_sampler = hasattr(scheduler, "noise_sampler")

    def _level(self, index: int) -> torch.Tensor:
        """alphas_cumprod at `timesteps[index]`, a float32 number on the CPU."""
        place = self._part[index]
        if hasattr(self._scheduler, "sigmas"):
            return 1 / (self._scheduler.sigmas[place] ** 2 + 1)
        return self._scheduler.alphas_cumprod[self._scheduler.timesteps[place]]

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """Unit noise to the sample at `timesteps[0]`, starting from nothing. Shape: (B, C, H, W)."""
        if not self._in_sigmas:
            return noise
        return noise * initial_sigma(self._scheduler, self._part.start)

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        """A clean sample noised to the level of `timesteps[index]`. Shapes: (B, C, H, W)."""
        if self._in_sigmas:
            return x0 + noise * self._scheduler.sigmas[self._part[index]]
        level = self._level(index)
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """What the network sees of the sample at `timesteps[index]`. Shape: (B, C, H, W)."""
        return self._scheduler.scale_model_input(x, self._timestep(index))

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """From the sample at `timesteps[index]` to the next. Shapes: (B, C, H, W), float32."""
        if self._takes_sampler and self._scheduler.noise_sampler is None:
            self._scheduler.noise_sampler = _brownian(self._scheduler.sigmas, noise, x.device)
        if self._predicts != self._scheduler.config.prediction_type:
            level = self._level(index)
            output = predict_x0(x, output, Coefficients(level, level, self._predicts))[1]
        extra = {"generator": noise.generators} if self._takes_generators else {}
        stepped = self._scheduler.step(output, self._timestep(index), x, **extra)
        x0 = stepped.get("pred_original_sample", stepped.get("denoised"))
        if x0 is None:
            level = self._level(index)
            x0 = predict_x0(x, output, Coefficients(level, level, self._scheduler.config.prediction_type))[0]
        return Stepped(stepped.prev_sample, x0)

    def _timestep(self, index: int) -> torch.Tensor:
        return self._scheduler.timesteps[self._part[index]]


def initial_sigma(scheduler: Any, place: int) -> torch.Tensor:
    """What unit noise is scaled by to start at `place` of a schedule in sigma space, as in diffusers.

    With leading spacing the schedule starts below the noisiest level, and the network then sees unit noise.
    """
    sigma = scheduler.sigmas[place]
    leading = scheduler.config.timestep_spacing == "leading"
    return (sigma**2 + 1) ** 0.5 if leading else sigma


def _brownian(sigmas: torch.Tensor, noise: ImageNoise, device: torch.device) -> Any:
    """Brownian noise for DPM++ SDE, a tree on the CPU for each image, grown from that image's seed alone."""
    from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

    like = torch.zeros((len(noise.seeds), *noise.shape))
    low, high = sigmas[sigmas > 0].min().item(), sigmas.max().item()
    sampler = BrownianTreeNoiseSampler(like, low, high, seed=list(noise.seeds))
    # the tree keeps its ends to 6 digits and warns of any query a rounding outside; it would clamp as we do
    ends = {"min": round(low, 6), "max": round(high, 6)}
    return lambda sigma, to: to_device(sampler(sigma.double().clamp(**ends), to.double().clamp(**ends)), device)

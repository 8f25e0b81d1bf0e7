"""Solvers that keep a history: diffusers' own schedulers behind our `Schedule` protocol."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch

from .schedulers import Scheduler
from .steps import Coefficients, ImageNoise, Stepped, predict_x0, to_device


class Asked(NamedTuple):
    """Terms of a schedule beyond diffusers' scheduler: its entry in the table, eta, and what the network predicts."""

    entry: Scheduler
    eta: float
    predicts: str


class SolverSchedule:
    """One of diffusers' schedulers, from the first to the last timestep of `part`.

    It keeps a history, so one object serves one batch, in order and once. It may have more timesteps than
    steps: PNDM and DPM++ SDE look at some steps more than once.

    PNDM started in the middle does as diffusers' does: its second evaluation goes back a step as if it had been
    to the same timestep twice, and the rest runs one level late. Some noise stays (a perfect network of data of
    deviation 0.500 ends at 0.513 in the last 10 of 20 steps).

    A network that predicts the clean sample, under a scheduler built for epsilon (diffusers' PNDM knows no
    other way), has its output converted to epsilon first.
    """

    def __init__(self, scheduler: Any, part: range, asked: Asked) -> None:
        self._scheduler, self._part, self._predicts = scheduler, part, asked.predicts
        self.timesteps = tuple(scheduler.timesteps[i].item() for i in part)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(part.start)  # or it would search for the first timestep
        self._in_sigmas = asked.entry.space == "sigma"
        self._takes_generators = "generator" in inspect.signature(scheduler.step).parameters
        self._takes_sampler = hasattr(scheduler, "noise_sampler")

    def _level(self, index: int) -> torch.Tensor:
        """Return alphas_cumprod at `timesteps[index]`, a float32 number on the CPU."""
        place = self._part[index]
        if hasattr(self._scheduler, "sigmas"):
            return 1 / (self._scheduler.sigmas[place] ** 2 + 1)
        return self._scheduler.alphas_cumprod[self._scheduler.timesteps[place]]

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the sample at `timesteps[0]` that a run from nothing begins with. Shape: (B, C, H, W)."""
        if not self._in_sigmas:
            return noise
        return noise * initial_sigma(self._scheduler, self._part.start)

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        """Add noise to a clean sample, to the level of `timesteps[index]`. Shapes: (B, C, H, W)."""
        if self._in_sigmas:
            return x0 + noise * self._scheduler.sigmas[self._part[index]]
        level = self._level(index)
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return what the network sees of the sample at `timesteps[index]`. Shape: (B, C, H, W)."""
        return self._scheduler.scale_model_input(x, self._timestep(index))

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """Step from the sample at `timesteps[index]` to the next. Shapes: (B, C, H, W), float32."""
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
    """Return what unit noise is scaled by to start at `place` of a schedule in sigma space, as in diffusers.

    With leading spacing the schedule starts below the noisiest level, and the network then sees unit noise.
    """
    sigma = scheduler.sigmas[place]
    leading = scheduler.config.timestep_spacing == "leading"
    return (sigma**2 + 1) ** 0.5 if leading else sigma


def _brownian(sigmas: torch.Tensor, noise: ImageNoise, device: torch.device) -> Any:
    """Make Brownian noise for DPM++ SDE, a tree on the CPU for each image, grown from that image's seed alone."""
    from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

    like = torch.zeros((len(noise.seeds), *noise.shape))
    low, high = sigmas[sigmas > 0].min().item(), sigmas.max().item()
    sampler = BrownianTreeNoiseSampler(like, low, high, seed=list(noise.seeds))
    # the tree keeps its ends to 6 digits and warns of any query a rounding outside; it would clamp as we do
    ends = {"min": round(low, 6), "max": round(high, 6)}
    return lambda sigma, to: to_device(sampler(sigma.double().clamp(**ends), to.double().clamp(**ends)), device)

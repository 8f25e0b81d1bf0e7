"""UniPC (Zhao et al. 2023, arXiv 2302.04867), second order, B(h) = e^h - 1, predicting the clean sample.

The steps are diffusers' UniPCMultistepScheduler's, whose timesteps and noise levels are used. Its own step solves
a linear system on the device, which makes the host wait; here every coefficient is a number on the CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from .noise import ImageNoise
from .solvers import SolverSchedule
from .steps import Coefficients, Stepped, predict_x0


class Level(NamedTuple):
    """A noise level: signal and noise of the sample, and log(signal / noise). Float32 numbers on the CPU."""

    signal: torch.Tensor
    noise: torch.Tensor
    log_snr: torch.Tensor


def level_of(sigma: torch.Tensor) -> Level:
    """The level where the sample is x0 + sigma noise, scaled to keep its variance; sigma 0 is the clean end."""
    signal = 1 / (sigma**2 + 1) ** 0.5
    noise = sigma * signal
    return Level(signal, noise, torch.log(signal) - torch.log(noise))


def predict(x: torch.Tensor, x0: torch.Tensor, older: torch.Tensor | None, levels: tuple[Level, ...]) -> torch.Tensor:
    """UniP: from the sample at a level to the next (alg. 2).

    `levels` are the next one, this one and, if `older` (the clean sample foreseen a step earlier) is given, the
    one before. Shapes: (B, C, H, W).
    """
    to, at = levels[0], levels[1]
    h = to.log_snr - at.log_snr
    change = torch.expm1(-h)
    moved = to.noise / at.noise * x - to.signal * change * x0
    if older is None:
        return moved
    ratio = (levels[2].log_snr - at.log_snr) / h
    return moved - to.signal * change * 0.5 * ((older - x0) / ratio)


def correct(
    x: torch.Tensor, x0: torch.Tensor, older: torch.Tensor | None, new: torch.Tensor, levels: tuple[Level, ...]
) -> torch.Tensor:
    """UniC: a step made anew, now that `new`, the clean sample foreseen from where it led, is known (alg. 1).

    `x` and `x0` are of the level the step began at; the rest is as in `predict`. Shapes: (B, C, H, W).
    """
    to, at = levels[0], levels[1]
    h = to.log_snr - at.log_snr
    change = torch.expm1(-h)
    moved = to.noise / at.noise * x - to.signal * change * x0
    if older is None:
        return moved - to.signal * change * 0.5 * (new - x0)
    ratio = (levels[2].log_snr - at.log_snr) / h
    # the weights solve  w + v = first,  ratio w + v = second  (eq. 11); phi_2 and phi_3 of -h
    phi_2 = change / -h - 1
    phi_3 = phi_2 / -h - 0.5
    first, second = phi_2 / change, 2 * phi_3 / change
    w = (first - second) / (1 - ratio)
    v = first - w
    return moved - to.signal * change * (w / ratio * (older - x0) + v * (new - x0))


def runs_as_ours(config: Any) -> bool:
    """Whether a UniPCMultistepScheduler's config asks for the steps of `UniPC`, whatever its levels."""
    usual = {"solver_order": 2, "solver_type": "bh2", "predict_x0": True, "lower_order_final": True}
    return all(config.get(k, v) == v for k, v in usual.items()) and not config.get("disable_corrector")


class UniPC(SolverSchedule):
    """Prediction and, a step later, its correction. The first step of a run and the last of the schedule are of
    first order. It keeps a history: one object serves one batch, in order and once.
    """

    def __init__(self, scheduler: Any, part: range) -> None:
        super().__init__(scheduler, part, in_sigmas=False)
        self._levels = tuple(level_of(sigma) for sigma in scheduler.sigmas)
        self._prediction = scheduler.config.prediction_type
        self._count = len(scheduler.timesteps)
        self._last: torch.Tensor | None = None  # the sample the last step began at
        self._x0s: list[torch.Tensor | None] = [None, None]  # foreseen two steps and one step ago
        self._second_order = False  # whether the last step was

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        place = self._part[index]
        here = self._levels[place]
        signal = here.signal**2
        x0, _ = predict_x0(x, output, Coefficients(signal, signal, self._prediction))
        older, old = self._x0s
        if self._last is not None and old is not None:
            levels = (here, self._levels[place - 1], self._levels[place - 2])
            x = correct(self._last, old, older if self._second_order else None, x0, levels)
        self._second_order = old is not None and place < self._count - 1
        self._last, self._x0s = x, [old, x0]
        levels = (self._levels[place + 1], here, self._levels[place - 1])
        return Stepped(predict(x, x0, old if self._second_order else None, levels), x0)

"""Schedules: a model's own scheduler config, as DDPM, DDIM or PNDM.

DDPM and DDIM take their timesteps and noise levels from diffusers and step with `steps.py`, whose
arithmetic training shares; PNDM, which has no step distribution, is diffusers' own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch

from ..loaders.errors import InputError, ModelFileError
from .noise import ImageNoise
from .steps import PREDICTION_TYPES, Coefficients, ddim_step, ddpm_step, predict_x0


class Stepped(NamedTuple):
    """Result of a step: the sample at the next timestep and the clean one foreseen, (B, C, H, W)."""

    sample: torch.Tensor
    x0: torch.Tensor


class Schedule(Protocol):
    """What the sampling loop asks of a scheduler."""

    timesteps: tuple[float, ...]

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """Unit noise to the sample at `timesteps[0]`, starting from nothing. Shape: (B, C, H, W)."""

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """What the network sees of the sample at `timesteps[index]`. Shape: (B, C, H, W)."""

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """From the sample at `timesteps[index]` to the next. Shapes (B, C, H, W), float32.

        Fresh noise is drawn from `noise` only if the step needs it.
        """


_KEPT = (  # what of any diffusers scheduler config describes the model, not the old scheduler
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range"),
    *("set_alpha_to_one", "variance_type", "skip_prk_steps", "thresholding"),
)


def model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a model's scheduler config that every scheduler shares.

    A key the model does not state is what its own scheduler class would have assumed, never what
    the new one assumes (EulerAncestral clips nothing, DDIMScheduler clips by default).
    Raises ModelFileError for schedules that the formulas here do not cover.
    """
    import diffusers

    cls = getattr(diffusers, config["_class_name"])
    own = cls(**_known_by(cls, config))
    stated = {**own.config, **config}
    kept = {key: stated[key] for key in _KEPT if key in stated}
    kept.setdefault("clip_sample", False)
    kept.setdefault("steps_offset", 0)
    if config.get("rescale_betas_zero_snr"):
        raise ModelFileError("Schedules with rescale_betas_zero_snr are not supported yet.")
    if kept.get("thresholding"):
        raise ModelFileError("Schedules with dynamic thresholding are not supported.")
    if kept.get("prediction_type", "epsilon") not in PREDICTION_TYPES:
        raise ModelFileError(f"The prediction type {kept['prediction_type']!r} is not supported.")
    if kept.get("variance_type", "fixed_small") not in ("fixed_small", "fixed_large"):
        raise ModelFileError(f"The variance type {kept['variance_type']!r} is not supported.")
    return kept


def _known_by(cls: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config that a scheduler class takes."""
    known = inspect.signature(cls.__init__).parameters
    return {k: v for k, v in config.items() if k in known}


class GaussianSchedule:
    """DDPM or DDIM: every step is a Gaussian of known mean and standard deviation."""

    def __init__(self, config: Mapping[str, Any], scheduler: str, steps: int, eta: float) -> None:
        import diffusers

        cls = diffusers.DDPMScheduler if scheduler == "ddpm" else diffusers.DDIMScheduler
        reference = cls(**_known_by(cls, config))
        reference.set_timesteps(steps)
        self.timesteps = tuple(int(t) for t in reference.timesteps)
        # DDPM always ends at 1; DDIM at the first level unless set_alpha_to_one
        final = torch.tensor(1.0) if scheduler == "ddpm" else reference.final_alpha_cumprod
        # the next level is that of the schedule's own next timestep, whatever the spacing
        levels = [*reference.alphas_cumprod[list(self.timesteps)], final]
        prediction = config.get("prediction_type", "epsilon")
        clip = config.get("clip_sample_range", 1.0) if config.get("clip_sample") else None
        self.coefficients = tuple(
            Coefficients(a_t, a_p, prediction, clip) for a_t, a_p in zip(levels, levels[1:], strict=False)
        )
        self.scheduler, self.eta = scheduler, eta
        self.variance_type = config.get("variance_type", "fixed_small")

    def distribution(self, index: int, x_t: torch.Tensor, output: torch.Tensor):
        """The `StepDistribution` of step `index`."""
        if self.scheduler == "ddim":
            return ddim_step(x_t, output, self.coefficients[index], self.eta)
        if index == len(self.timesteps) - 1 and self.timesteps[index] == 0:
            # no noise at t = 0, fixed_large too
            return ddpm_step(x_t, output, self.coefficients[index], "fixed_small")
        return ddpm_step(x_t, output, self.coefficients[index], self.variance_type)

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        return noise

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        return x

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        mean, std, x0 = self.distribution(index, x, output)
        return Stepped(mean + std * noise.draw(mean.device) if std else mean, x0)


class PNDMSchedule:
    """Pseudo numerical methods (Liu et al. 2022, arXiv 2202.09778), diffusers' PNDMScheduler.

    It keeps a history, so one object serves one batch from the first step to the last. It has more
    timesteps than `steps`: the first few are visited more than once.
    """

    def __init__(self, config: Mapping[str, Any], steps: int) -> None:
        import diffusers

        self._config = config
        self._scheduler = diffusers.PNDMScheduler(**_known_by(diffusers.PNDMScheduler, config))
        self._scheduler.set_timesteps(steps)
        self.timesteps = tuple(int(t) for t in self._scheduler.timesteps)

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        return noise

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        return x

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        t = self.timesteps[index]
        sample = self._scheduler.step(output, t, x).prev_sample
        level = self._scheduler.alphas_cumprod[t]
        prediction = self._config.get("prediction_type", "epsilon")
        return Stepped(sample, predict_x0(x, output, Coefficients(level, level, prediction))[0])


def make_schedule(config: Mapping[str, Any], scheduler: str, steps: int, eta: float) -> Schedule:
    """A schedule from a model's scheduler config. Raises InputError, ModelFileError."""
    own = model_config(config)
    if steps > own["num_train_timesteps"]:
        raise InputError("steps", steps, f"This model was trained with {own['num_train_timesteps']} steps.")
    if scheduler == "pndm":
        try:
            return PNDMSchedule(own, steps)
        except (ValueError, IndexError) as e:  # PNDM's first steps need room
            raise InputError("steps", steps, f"pndm cannot run so few or so many steps ({e}).") from e
    return GaussianSchedule(own, scheduler, steps, eta)

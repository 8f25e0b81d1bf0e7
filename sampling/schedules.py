"""Schedules: a model's own scheduler config, as one of the schedulers by name.

DDPM, DDIM and Euler ancestral take their timesteps and noise levels from diffusers and step with
`steps.py`, whose arithmetic training shares; the others, which have no step distribution, are
diffusers' own (`solvers.py`). The reference is diffusers' pipelines: same noise, same pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from ..core.errors import InputError, ModelFileError
from .scheduler_config import build, default_scheduler, describe, model_config
from .schedulers import MODEL_DEFAULT, SCHEDULERS
from .settings import check_eta
from .solvers import Asked, SolverSchedule, initial_sigma
from .steps import (
    Coefficients,
    ImageNoise,
    Sigmas,
    StepDistribution,
    Stepped,
    ddim_step,
    ddpm_step,
    euler_ancestral_step,
)

__all__ = ["Schedule", "Stepped", "default_scheduler", "describe", "make_schedule", "model_config"]


class Schedule(Protocol):
    """A scheduler as the sampling loop sees it. All samples are (B, C, H, W), float32.

    Attributes:
        timesteps: one for each network evaluation, noisiest first; cut to the part to run.
    """

    timesteps: tuple[float, ...]

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the sample at `timesteps[0]` that a run from nothing begins with, given unit noise."""

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        """Add noise to a clean sample, to the level of `timesteps[index]`: image to image, and what a mask keeps."""

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return what the network sees of the sample at `timesteps[index]`."""

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """Step from the sample at `timesteps[index]` to the next; fresh noise is drawn only if it is needed."""


class GaussianSchedule(Schedule):
    """A schedule whose every step is a Gaussian of known mean and standard deviation."""

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        """Return what step `index` draws from; std is of the sample in its own space, 0 where there is no noise."""
        raise NotImplementedError

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """Step from the sample at `timesteps[index]` to the next. Shapes (B, C, H, W), float32."""
        mean, std, x0 = self.distribution(index, x, output)
        return Stepped(mean + std * noise.draw(mean.device) if std else mean, x0)


class VariancePreserving(GaussianSchedule):
    """A schedule whose samples are sqrt(a) x0 + sqrt(1-a) noise: DDIM and DDPM.

    `targets` are the timesteps that the steps lead to; past the end of training's timesteps the level is `final`.
    """

    def __init__(self, reference: Any, part: range, targets: Sequence[int], final: torch.Tensor) -> None:
        config, times = reference.config, reference.timesteps.tolist()
        self.timesteps = tuple(times[part.start : part.stop])
        levels, clip = reference.alphas_cumprod, config.clip_sample_range if config.clip_sample else None
        self.coefficients = tuple(
            Coefficients(
                levels[times[i]], levels[targets[i]] if targets[i] >= 0 else final, config.prediction_type, clip
            )
            for i in part
        )
        if config.prediction_type == "epsilon" and any(c.a_t == 0 for c in self.coefficients):
            raise ModelFileError(
                "This model's scheduler config starts from pure noise (zero terminal SNR), where a network that "
                "predicts epsilon says nothing: it should say v_prediction."
            )

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        return noise

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        level = self.coefficients[index].a_t
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        return x


class DDIM(VariancePreserving):
    """DDIM (Song et al. 2021). A step goes to t - N // steps (N training timesteps), as diffusers' does.

    With leading spacing, and with trailing spacing where steps divide N, that is the schedule's own next timestep.
    With linspace the step lands a little short of where the network is asked next: against stepping to the
    schedule's own, 25 steps of tiny-sdxl at eta 0 differ by 0.0044 of the pictures' range on average (0.15 at most),
    and both come as near to 200 steps of DPM++ (0.0065 and 0.0052). Equality with the reference is worth that. The
    step and its log-probability belong to the level it really goes to.
    """

    def __init__(self, reference: Any, part: range, asked: Asked) -> None:
        gap = reference.config.num_train_timesteps // reference.num_inference_steps
        targets = [t - gap for t in reference.timesteps.tolist()]
        # past its end: the first level, or 1 with set_alpha_to_one
        super().__init__(reference, part, targets, reference.final_alpha_cumprod)
        self.etas = (asked.eta,) * len(part)

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        return ddim_step(x, output, self.coefficients[index], self.etas[index])

    def noisy_within(self, start: float, stop: float) -> DDIM:
        """Return this schedule with fresh noise only in the steps whose place t / T is in [start, stop)."""
        other, count = copy.copy(self), len(self.timesteps)
        other.etas = tuple(eta if start <= t / count < stop else 0.0 for t, eta in enumerate(self.etas))
        return other


class DDPM(VariancePreserving):
    """DDPM (Ho et al. 2020). A step goes where the diffusers at hand goes.

    That is the schedule's own next timestep in diffusers 0.42, and t - N // steps, DDIM's rule, in 0.31.
    """

    def __init__(self, reference: Any, part: range, asked: Asked) -> None:
        targets = [int(reference.previous_timestep(t)) for t in reference.timesteps.tolist()]
        super().__init__(reference, part, targets, torch.tensor(1.0))
        self._variance_type = reference.config.variance_type

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        # no noise at t = 0, fixed_large too
        variance_type = "fixed_small" if self.timesteps[index] == 0 else self._variance_type
        return ddpm_step(x, output, self.coefficients[index], variance_type)


class EulerAncestral(GaussianSchedule):
    """Euler ancestral, whose samples are x0 + sigma noise; the network sees them divided by sqrt(sigma^2 + 1)."""

    def __init__(self, reference: Any, part: range, asked: Asked) -> None:
        self.timesteps = tuple(reference.timesteps[i].item() for i in part)
        sigmas, prediction = reference.sigmas, reference.config.prediction_type
        self.sigmas = tuple(Sigmas(sigmas[i], sigmas[i + 1], prediction) for i in part)
        self._initial = initial_sigma(reference, part.start)

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        return euler_ancestral_step(x, output, self.sigmas[index])

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        return noise * self._initial

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        return x0 + noise * self.sigmas[index].sigma_t

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        return x / (self.sigmas[index].sigma_t ** 2 + 1) ** 0.5


_CLASSES = {cls.__name__: cls for cls in (DDIM, DDPM, EulerAncestral, SolverSchedule)}


def make_schedule(
    config: Mapping[str, Any],
    scheduler: str,
    steps: int,
    eta: float = 0.0,
    *,
    denoise: float = 1.0,
    start: float = 0.0,
    stop: float = 1.0,
) -> Schedule:
    """Make a schedule from a model's scheduler config.

    Args:
        config: the model's own scheduler config, `_class_name` included.
        scheduler: a name of `SCHEDULERS`, or "model default".
        steps: steps to run, fewer than the model's training timesteps.
        eta: 0 to 1, fresh noise in each step of ddim.
        denoise: above 0 to 1: the last `steps` steps of a schedule of int(steps / denoise), for image to image.
        start, stop: the part of the schedule to run, 0 to 1, as diffusers' denoising_start and denoising_end:
            for N training timesteps, those below round(N - start N) and from round(N - stop N) on.

    Raises:
        InputError: an argument that this scheduler or this model cannot run, by name.
        ModelFileError: a config that no scheduler here covers.
    """
    shared = model_config(config)
    if scheduler == MODEL_DEFAULT:
        scheduler = default_scheduler(config)
    entry = SCHEDULERS[scheduler]
    check_eta(scheduler, eta)
    total = _schedule_length(steps, denoise, start, shared["num_train_timesteps"])
    predicts = shared["prediction_type"]
    if predicts == "sample" and entry.predicts_sample == "no":
        raise InputError(
            "scheduler", scheduler, "It cannot run a network that predicts the clean sample. Pick ddim or euler."
        )
    for_epsilon = predicts == "sample" and entry.predicts_sample == "as epsilon"
    reference = build({**shared, "prediction_type": "epsilon"} if for_epsilon else shared, scheduler)
    _set_timesteps(reference, scheduler, steps, total)
    times, count = reference.timesteps.tolist(), shared["num_train_timesteps"]
    part = part_to_run(times, reference.order, total - steps, start, stop, count)
    if part.start > 0 and entry.starts_late == "no Runge-Kutta" and not shared.get("skip_prk_steps"):
        raise InputError(
            "scheduler", scheduler, "For this model it begins with Runge-Kutta steps and cannot start later. Pick ddim."
        )
    return _CLASSES[entry.schedule](reference, part, Asked(entry, eta, predicts))


def _schedule_length(steps: int, denoise: float, start: float, num_train_timesteps: int) -> int:
    """Return the steps of the whole schedule whose last `steps` are run. Raises InputError."""
    if not 0 < denoise <= 1 or (denoise < 1 and start > 0):
        raise InputError("denoise", denoise, "It must be above 0 and at most 1, and 1 where start is above 0.")
    total = int(steps / denoise)
    if total > num_train_timesteps:
        advice = f"This model was trained with {num_train_timesteps} steps"
        if denoise < 1:
            advice += f", and {steps} steps at denoise {denoise} are the end of {total}"
        raise InputError("steps", steps, f"{advice}. Take fewer.")
    return total


def part_to_run(
    timesteps: Sequence[float], order: int, skipped: int, start: float, stop: float, num_train_timesteps: int
) -> range:
    """Return which places of `timesteps` to run, by the rules of diffusers' SDXL pipelines.

    Image to image skips `skipped` steps of `order` evaluations each. With `start` above 0, evaluations below its
    cut-off are counted and as many are run, one more if that would begin in the middle of a second-order
    step. `stop` ends before the first one below its own cut-off.
    Raises InputError naming start and stop when nothing is left.
    """
    if not (0 <= start < 1 and 0 < stop <= 1 and start < stop):
        raise InputError("start", (start, stop), "start and stop are 0 to 1, and start is below stop.")
    first = skipped * order
    if start > 0:
        cutoff = round(num_train_timesteps - start * num_train_timesteps)
        left = sum(t < cutoff for t in timesteps)
        first = len(timesteps) - (left + 1 if order == 2 and left % 2 == 0 else left)
    last = len(timesteps)
    if stop < 1:
        cutoff = round(num_train_timesteps - stop * num_train_timesteps)
        last = first + sum(t >= cutoff for t in timesteps[first:])
    if first >= last:
        raise InputError("start", (start, stop), "No step lies between start and stop. Take more steps.")
    return range(first, last)


def _set_timesteps(reference: Any, scheduler: str, steps: int, total: int) -> None:
    """Raise InputError when a scheduler cannot run that many steps."""
    try:
        reference.set_timesteps(total)
        why = _unusable(reference)
    except (ValueError, IndexError, ZeroDivisionError) as e:
        why = str(e)
    if why:
        advice = f"{scheduler} cannot run so few or so many steps on this model ({why})."
        raise InputError("steps", steps, f"{advice} Change steps, or pick another scheduler.")


def _unusable(reference: Any) -> str:
    """Return why a scheduler would fail at its timesteps, empty where it would not."""
    if not hasattr(reference, "sigmas"):
        past = int(max(reference.timesteps)) >= len(reference.alphas_cumprod)
        return "its offset leads past the last training timestep" if past else ""
    # a multistep solver divides by the distance of levels; second-order schedules list each one twice, and one that
    # ends at the lowest level may be there a step early
    levels = reference.sigmas
    falling = (levels[:-2] > levels[1:-1]).all() and levels[-2] >= levels[-1]
    return "" if falling or reference.order == 2 else "some of them would be at the same noise level"

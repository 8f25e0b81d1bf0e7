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
from .noise import ImageNoise
from .scheduler_config import build, default_scheduler, describe, model_config
from .settings import MODEL_DEFAULT
from .solvers import SolverSchedule, initial_sigma
from .steps import (
    Coefficients,
    Sigmas,
    StepDistribution,
    Stepped,
    ddim_step,
    ddpm_step,
    euler_ancestral_step,
)
from .unipc import UniPC, runs_as_ours

__all__ = ["Schedule", "Stepped", "default_scheduler", "describe", "make_schedule", "model_config"]


class Schedule(Protocol):
    """What the sampling loop asks of a scheduler. All samples are (B, C, H, W), float32.

    Attributes:
        timesteps: one for each network evaluation, noisiest first; cut to the part to run.
    """

    timesteps: tuple[float, ...]

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """Unit noise to the sample at `timesteps[0]`, starting from nothing."""

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        """A clean sample noised to the level of `timesteps[index]`: image to image, and what a mask keeps."""

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """What the network sees of the sample at `timesteps[index]`."""

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """From the sample at `timesteps[index]` to the next; fresh noise is drawn only if it is needed."""


class GaussianSchedule:
    """A schedule whose every step is a Gaussian of known mean and standard deviation."""

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        """What step `index` draws from; its std is of the sample in its own space, 0 where there is no noise."""
        raise NotImplementedError

    def step(self, index: int, x: torch.Tensor, output: torch.Tensor, noise: ImageNoise) -> Stepped:
        """From the sample at `timesteps[index]` to the next. Shapes (B, C, H, W), float32."""
        mean, std, x0 = self.distribution(index, x, output)
        return Stepped(mean + std * noise.draw(mean.device) if std else mean, x0)


class VarianceKeeping(GaussianSchedule):
    """DDPM and DDIM, whose samples are sqrt(a) x0 + sqrt(1-a) noise.

    A DDIM step goes to t - N // steps (N training timesteps), as diffusers' does. With leading spacing, and
    with trailing spacing where steps divide N, that is the schedule's own next timestep. With linspace the
    step lands a little short of where the network is asked next: against stepping to the schedule's own, 25
    steps of tiny-sdxl at eta 0 differ by 0.0044 of the pictures' range on average (0.15 at most), and both
    come as near to 200 steps of DPM++ (0.0065 and 0.0052). Equality with the reference is worth that. The
    step and its log-probability belong to the level it really goes to. DDPM goes where the diffusers at hand
    goes: 0.42 to the schedule's own next timestep, 0.31 by DDIM's rule.
    """

    def __init__(self, reference: Any, scheduler: str, eta: float, part: range) -> None:
        config = reference.config
        times = reference.timesteps.tolist()
        self.timesteps = tuple(times[part.start : part.stop])
        if scheduler == "ddpm":
            targets = [int(reference.previous_timestep(t)) for t in times]
        else:
            gap = config.num_train_timesteps // reference.num_inference_steps
            targets = [t - gap for t in times]
        # past its end DDPM is at 1, DDIM at the first level unless set_alpha_to_one
        final = torch.tensor(1.0) if scheduler == "ddpm" else reference.final_alpha_cumprod
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
        self.scheduler, self.etas = scheduler, (eta,) * len(part)
        self.variance_type = getattr(config, "variance_type", None)

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        if self.scheduler == "ddim":
            return ddim_step(x, output, self.coefficients[index], self.etas[index])
        # no noise at t = 0, fixed_large too
        variance_type = "fixed_small" if self.timesteps[index] == 0 else self.variance_type
        return ddpm_step(x, output, self.coefficients[index], variance_type)

    def noisy_within(self, start: float, stop: float) -> VarianceKeeping:
        """This DDIM schedule with fresh noise only in the steps whose place t / T is in [start, stop)."""
        other, count = copy.copy(self), len(self.timesteps)
        other.etas = tuple(eta if start <= t / count < stop else 0.0 for t, eta in enumerate(self.etas))
        return other

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        return noise

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, index: int = 0) -> torch.Tensor:
        level = self.coefficients[index].a_t
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        return x


class EulerAncestral(GaussianSchedule):
    """Euler ancestral, whose samples are x0 + sigma noise; the network sees them divided by sqrt(sigma^2 + 1)."""

    def __init__(self, reference: Any, part: range) -> None:
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
    """A schedule from a model's scheduler config.

    Args:
        config: the model's own scheduler config, `_class_name` included.
        scheduler: one of `SCHEDULERS`.
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
    if eta and scheduler != "ddim":
        raise InputError("eta", eta, f"{scheduler} has no eta. Set eta to 0, or pick ddim as the scheduler.")
    count = shared["num_train_timesteps"]
    if not 0 < denoise <= 1 or (denoise < 1 and start > 0):
        raise InputError("denoise", denoise, "It must be above 0 and at most 1, and 1 where start is above 0.")
    total = int(steps / denoise)
    if total > count:
        advice = f"This model was trained with {count} steps"
        if denoise < 1:
            advice += f", and {steps} steps at denoise {denoise} are the end of {total}"
        raise InputError("steps", steps, f"{advice}. Take fewer.")
    predicts = shared["prediction_type"]
    _refuse_sample_prediction(scheduler, predicts)
    for_epsilon = scheduler == "pndm" and predicts == "sample"  # see SolverSchedule
    reference = build({**shared, "prediction_type": "epsilon"} if for_epsilon else shared, scheduler)
    _set_timesteps(reference, scheduler, steps, total)
    part = part_to_run(reference.timesteps.tolist(), reference.order, total - steps, start, stop, count)
    if scheduler == "pndm" and part.start > 0 and not shared.get("skip_prk_steps"):
        raise InputError(
            "scheduler", scheduler, "For this model it begins with Runge-Kutta steps and cannot start later. Pick ddim."
        )
    if scheduler in ("ddpm", "ddim"):
        return VarianceKeeping(reference, scheduler, eta, part)
    if scheduler == "euler_ancestral":
        return EulerAncestral(reference, part)
    if scheduler == "unipc" and runs_as_ours(reference.config):
        return UniPC(reference, part)
    return SolverSchedule(reference, part, in_sigmas=scheduler in ("euler", "dpmpp_sde"), predicts=predicts)


def part_to_run(
    timesteps: Sequence[float], order: int, skipped: int, start: float, stop: float, num_train_timesteps: int
) -> range:
    """Which places of `timesteps` to run, by the rules of diffusers' SDXL pipelines.

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
    """Raises InputError when a scheduler cannot run that many steps."""
    try:
        reference.set_timesteps(total)
        why = _unusable(reference)
    except (ValueError, IndexError, ZeroDivisionError) as e:
        why = str(e)
    if why:
        advice = f"{scheduler} cannot run so few or so many steps on this model ({why})."
        raise InputError("steps", steps, f"{advice} Change steps, or pick another scheduler.")


def _unusable(reference: Any) -> str:
    """Why a scheduler would fail at its timesteps, empty where it would not."""
    if not hasattr(reference, "sigmas"):
        past = int(max(reference.timesteps)) >= len(reference.alphas_cumprod)
        return "its offset leads past the last training timestep" if past else ""
    # a multistep solver divides by the distance of levels; second-order schedules list each one twice, and one that
    # ends at the lowest level may be there a step early
    levels = reference.sigmas
    falling = (levels[:-2] > levels[1:-1]).all() and levels[-2] >= levels[-1]
    return "" if falling or reference.order == 2 else "some of them would be at the same noise level"


def _refuse_sample_prediction(scheduler: str, predicts: str) -> None:
    """Some schedulers cannot use networks that predict the clean sample."""
    if predicts == "sample" and scheduler in ("euler_ancestral", "dpmpp_sde"):
        raise InputError(
            "scheduler", scheduler, "It cannot run a network that predicts the clean sample. Pick ddim or euler."
        )

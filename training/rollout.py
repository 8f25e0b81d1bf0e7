"""Sampling while training, every step kept or none: network, schedule, steps and noise of `sampling.sample`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..core.errors import InputError, NonFiniteError
from ..core.memory import in_parts
from ..core.progress import Progress
from ..loaders.model import DiffusionModel
from ..sampling.guidance import Network
from ..sampling.loop import denoise
from ..sampling.scheduler_config import default_scheduler
from ..sampling.schedulers import MODEL_DEFAULT
from ..sampling.schedules import DDIM, GaussianSchedule, Schedule, make_schedule
from ..sampling.steps import ImageNoise, log_prob
from .config import FineTuneConfig, check_starts, untrainable, without_noise
from .fields import TRAINABLE
from .trajectory import Trajectory, learnable_steps


class Request(NamedTuple):
    """Ask for B pictures.

    Attributes:
        prompts: B texts, empty for an unconditional model.
        seeds: B seeds.
        starts: B seeds of the first noise alone, equal ones for pictures that start alike; None is each its own.
    """

    prompts: Sequence[str]
    seeds: Sequence[int]
    starts: Sequence[int] | None = None


def training_schedule(model: DiffusionModel, config: FineTuneConfig) -> GaussianSchedule:
    """Make the schedule a config asks for.

    Raises InputError for one whose steps have no probability, and where no step with noise is in the window that is
    learned from.
    """
    scheduler = _scheduler(model, config)
    if scheduler not in TRAINABLE:
        raise untrainable("scheduler", scheduler)
    if scheduler == "ddim" and config.eta == 0:
        raise without_noise(config.eta)
    schedule = sampling_schedule(model, config)
    assert isinstance(schedule, GaussianSchedule)
    if not learnable_steps(step_stds(schedule), config.window_start, config.window_stop):
        window = (config.window_start, config.window_stop)
        advice = "No step with noise lies between window_start and window_stop. Widen the window, or take more steps."
        raise InputError("window_start", window, advice)
    return schedule


def sampling_schedule(model: DiffusionModel, config: FineTuneConfig) -> Schedule:
    """Make the schedule a config asks for, with steps of any kind. Raises InputError for what the model cannot run."""
    scheduler = _scheduler(model, config)
    check_starts(config, scheduler)
    eta = config.eta if scheduler == "ddim" else 0.0
    schedule = make_schedule(model.scheduler_config, scheduler, config.steps, eta)
    if config.fresh_noise == "window":
        assert isinstance(schedule, DDIM)
        return schedule.noisy_within(config.window_start, config.window_stop)
    return schedule


def _scheduler(model: DiffusionModel, config: FineTuneConfig) -> str:
    return default_scheduler(model.scheduler_config) if config.scheduler == MODEL_DEFAULT else config.scheduler


def rollout(
    model: DiffusionModel,
    schedule: GaussianSchedule,
    make_network: Callable[[slice], Network],
    request: Request,
    size: tuple[int, int],
    at_once: int,
    progress: Progress,
) -> Trajectory:
    """Sample one picture for each seed and keep every step.

    `make_network` gives the network of some rows of the B pictures; the model must be in place, with its LoRAs
    applied. `size` is (height, width) in pixels; `at_once` pictures are sampled together, fewer where memory runs out.
    Raises NonFiniteError when the network overflows, OutOfMemoryError when not even one picture fits.
    """
    prompts, seeds, _ = request
    shape = (model.channels, size[0] // model.downscale, size[1] // model.downscale)
    stds = step_stds(schedule)
    latents = torch.empty(len(seeds), len(stds) + 1, *shape)
    log_probs = torch.zeros(len(seeds), len(stds))

    def work(rows: slice) -> torch.Tensor:
        first, noise = _noise(request, rows, shape, model.device)
        with make_network(rows) as network:
            _steps(schedule, network, schedule.begin(first), noise, latents[rows], log_probs[rows], progress)
        _check_finite(model, latents[rows, -1])
        return log_probs[rows]

    one = f"one picture of {size[1]} x {size[0]}"
    list(in_parts(len(seeds), at_once, work, what="sampling for training", each=one))
    return Trajectory(latents, log_probs, stds, tuple(prompts), tuple(seeds))


@torch.no_grad()
def final_latents(
    model: DiffusionModel,
    schedule: Schedule,
    make_network: Callable[[slice], Network],
    request: Request,
    size: tuple[int, int],
    at_once: int,
    progress: Progress,
    before_last: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sample one picture for each seed by any schedule and keep the last latents: float32 (B, C, h, w) on the CPU.

    Arguments and errors are those of `rollout`; `before_last` (B, C, h, w) is filled with what the network was given
    in the last step. `schedule` itself is not run: some keep a history, so each part of the
    pictures has a copy of its own.
    """
    shape = (model.channels, size[0] // model.downscale, size[1] // model.downscale)

    def work(rows: slice) -> torch.Tensor:
        first, noise = _noise(request, rows, shape, model.device)

        own = copy.deepcopy(schedule)
        last = len(own.timesteps) - 1

        def on_step(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
            if before_last is not None and index == last - 1:
                before_last[rows] = own.network_input(last, x).cpu()
            progress.advance(len(x))
            return x

        with make_network(rows) as network:
            x = denoise(network, own, own.begin(first), noise, on_step)
        _check_finite(model, x)
        return x.cpu()

    one = f"one picture of {size[1]} x {size[0]}"
    return torch.cat(list(in_parts(len(request.seeds), at_once, work, what="sampling for training", each=one)))


def _noise(
    request: Request, rows: slice, shape: tuple[int, int, int], device: torch.device
) -> tuple[torch.Tensor, ImageNoise]:
    """Return the noise that some pictures start from, and what draws the rest of theirs."""
    noise = ImageNoise(request.seeds[rows], shape)
    first = noise.draw(device)
    if request.starts is not None:
        first = ImageNoise(request.starts[rows], shape).draw(device)
    return first, noise


def _check_finite(model: DiffusionModel, latents: torch.Tensor) -> None:
    if not torch.isfinite(latents).all():
        raise NonFiniteError(
            f"The UNet of {model.name} produced NaN or infinity in {model.dtype} while sampling for training. "
            "Lower learning_rate, hold it nearer to its base (kl_weight, or reference_weight with matching), or load "
            "the model in float32."
        )


@torch.no_grad()
def _steps(
    schedule: GaussianSchedule,
    network: Network,
    x: torch.Tensor,
    noise: ImageNoise,
    latents: torch.Tensor,
    log_probs: torch.Tensor,
    progress: Progress,
) -> None:
    """Run one part of the batch through the schedule, into `latents` (B, T + 1, C, h, w) and `log_probs` (B, T)."""
    times = torch.tensor(schedule.timesteps, device=x.device)
    latents[:, 0] = x
    for t in range(len(times)):
        output = network(schedule.network_input(t, x), times[t], t / len(times))
        mean, std, _ = schedule.distribution(t, x, output)
        x = mean + std * noise.draw(x.device) if std else mean
        latents[:, t + 1] = x
        if std:
            log_probs[:, t] = log_prob(x, mean, std)
        progress.advance(len(x))


def step_stds(schedule: GaussianSchedule) -> torch.Tensor:
    """Return the standard deviation of each step, float64 (T,); 0 where it is without noise."""
    one = torch.zeros(1, 1, 1, 1)
    stds = [schedule.distribution(t, one, one).std for t in range(len(schedule.timesteps))]
    return torch.tensor(stds, dtype=torch.float64)

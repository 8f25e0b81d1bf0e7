"""Sampling with every step kept: the same network, schedule, steps and noise as `sampling.sample`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..core.errors import InputError, NonFiniteError
from ..core.memory import fitting, in_parts
from ..loaders.model import DiffusionModel
from ..sampling.guidance import Network, unet_bytes
from ..sampling.prompts import Encoded
from ..sampling.scheduler_config import default_scheduler
from ..sampling.schedules import DDIM, GaussianSchedule, make_schedule
from ..sampling.settings import MODEL_DEFAULT, SampleOptions
from ..sampling.steps import ImageNoise, log_prob
from .config import TRAINABLE, DDPOConfig, untrainable
from .trajectory import Trajectory

OPTIONS = SampleOptions()


def training_schedule(model: DiffusionModel, config: DDPOConfig) -> GaussianSchedule:
    """The schedule a config asks for. Raises InputError for one whose steps have no probability."""
    scheduler = config.scheduler
    if scheduler == MODEL_DEFAULT:
        scheduler = default_scheduler(model.scheduler_config)
    if scheduler not in TRAINABLE:
        raise untrainable("scheduler", scheduler)
    eta = config.eta if scheduler == "ddim" else 0.0
    if scheduler == "ddim" and eta == 0:
        raise InputError("eta", eta, "ddim at eta 0 adds no noise, so there is nothing to learn from. Set eta to 1.")
    schedule = make_schedule(model.scheduler_config, scheduler, config.steps, eta)
    assert isinstance(schedule, GaussianSchedule)
    if config.fresh_noise == "window":
        assert isinstance(schedule, DDIM)
        return schedule.noisy_within(config.window_start, config.window_stop)
    return schedule


def rollout(
    model: DiffusionModel,
    schedule: GaussianSchedule,
    config: DDPOConfig,
    size: tuple[int, int],
    prompts: Sequence[str],
    seeds: Sequence[int],
    encoded: Sequence[Encoded],
    negative: Encoded | None,
    on_step: Callable[[int], None] | None = None,
    starts: Sequence[int] | None = None,
) -> Trajectory:
    """Sample one picture for each seed and keep every step.

    Shape: B prompts, seeds and encoded prompts; `starts`, where given, B seeds of the first noise alone, equal ones
    for pictures that start alike. The model must be in place, with its LoRAs applied.
    `on_step` is told how many pictures took a step; what it raises stops the rollout.
    Raises NonFiniteError when the network overflows, OutOfMemoryError when not even one picture fits.
    """
    shape = (model.channels, size[0] // model.downscale, size[1] // model.downscale)
    stds = step_stds(schedule)
    latents = torch.empty(len(seeds), len(stds) + 1, *shape)
    log_probs = torch.zeros(len(seeds), len(stds))

    def work(rows: slice) -> torch.Tensor:
        network = Network(
            model,
            encoded[rows],
            negative,
            guidance_scale=config.guidance_scale,
            size=size,
            options=OPTIONS,
        )
        beginnings = None if starts is None else starts[rows]
        with network:
            _steps(model, schedule, network, seeds[rows], beginnings, latents[rows], log_probs[rows], on_step)
        return log_probs[rows]

    rows = 1 if negative is None else 2
    each = unet_bytes(model, *size, rows)
    at_once = config.rollout_batch_size or fitting(each, len(seeds), model.device)
    one = f"one picture of {size[1]} x {size[0]}"
    list(in_parts(len(seeds), at_once, work, what="sampling for training", each=one))
    return Trajectory(latents, log_probs, stds, tuple(prompts), tuple(seeds))


def step_stds(schedule: GaussianSchedule) -> torch.Tensor:
    """Spread of each step, float64 (T,); 0 where it is without noise."""
    one = torch.zeros(1, 1, 1, 1)
    stds = [schedule.distribution(t, one, one).std for t in range(len(schedule.timesteps))]
    return torch.tensor(stds, dtype=torch.float64)


@torch.no_grad()
def _steps(
    model: DiffusionModel,
    schedule: GaussianSchedule,
    network: Network,
    seeds: Sequence[int],
    starts: Sequence[int] | None,
    latents: torch.Tensor,
    log_probs: torch.Tensor,
    on_step: Callable[[int], None] | None,
) -> None:
    """One part of the batch through the schedule, into `latents` (B, T + 1, C, h, w) and `log_probs` (B, T)."""
    device = model.device
    noise = ImageNoise(seeds, tuple(latents.shape[2:]))
    first = noise.draw(device)
    x = schedule.begin(first if starts is None else ImageNoise(starts, tuple(latents.shape[2:])).draw(device))
    times = torch.tensor(schedule.timesteps, device=device)
    latents[:, 0] = x
    for t in range(len(times)):
        output = network(schedule.network_input(t, x), times[t], t / len(times))
        mean, std, _ = schedule.distribution(t, x, output)
        x = mean + std * noise.draw(device) if std else mean
        latents[:, t + 1] = x
        if std:
            log_probs[:, t] = log_prob(x, mean, std)
        if on_step is not None:
            on_step(len(seeds))
    if not torch.isfinite(x).all():
        raise NonFiniteError(
            f"The UNet of {model.name} produced NaN or infinity in {model.dtype} while sampling for training. "
            "Lower learning_rate, raise kl_weight, or load the model in float32."
        )

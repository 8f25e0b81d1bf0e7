"""What a rollout leaves behind, and which of its steps are learned from.

Legend: B pictures, T denoising steps, N (picture, step) pairs, C h w of what the UNet denoises.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from ..core.randomness import generator
from .config import FineTuneConfig


class Trajectory(NamedTuple):
    """Hold sampled pictures with every step on the way; on the CPU, float32 whatever the network runs in.

    Attributes:
        latents: (B, T + 1, C, h, w); step t went from latents[:, t] to latents[:, t + 1].
        log_probs: (B, T) of each step taken, averaged over C, h, w; 0 where std is 0.
        stds: (T,) standard deviation of each step; 0 marks a step without noise, which is not learned from.
        prompts: B texts.
        seeds: B seeds.
    """

    latents: torch.Tensor
    log_probs: torch.Tensor
    stds: torch.Tensor
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


class Pairs(NamedTuple):
    """Name (picture, step) pairs: both (N,) whole numbers on the CPU."""

    picture: torch.Tensor
    step: torch.Tensor


def learnable_steps(stds: torch.Tensor, start: float, stop: float) -> list[int]:
    """Return the steps with noise whose place in the schedule, t / T, is in [start, stop). Shape: stds (T,)."""
    count = len(stds)
    return [t for t in range(count) if stds[t] > 0 and start <= t / count < stop]


def choose_pairs(pictures: int, steps: list[int], config: FineTuneConfig, epoch: int) -> list[Pairs]:
    """Choose the pairs of each update of an epoch, shuffled: every picture with the same number of its steps.

    Each picture has its own random choice of max(1, timestep_fraction of `steps`). Update u gets the
    u-th of `updates_per_epoch` parts of one shuffled list, sizes differing by one at most.
    """
    each = max(1, math.ceil(config.timestep_fraction * len(steps) - 1e-9))
    draw = generator(config.seed, "steps", epoch)
    order = torch.rand(pictures, len(steps), generator=draw).argsort(dim=1)[:, :each]  # (B, each)
    step = torch.tensor(steps)[order].flatten()  # (N,)
    picture = torch.arange(pictures).repeat_interleave(each)
    shuffled = torch.randperm(len(step), generator=draw)
    parts = torch.tensor_split(shuffled, min(config.updates_per_epoch, len(shuffled)))
    return [Pairs(picture[part], step[part]) for part in parts]


def micro_batches(pairs: Pairs, size: int) -> list[Pairs]:
    """Split pairs into batches of `size`, the last one smaller; inside each, pairs of one step stand together."""
    batches = []
    for first in range(0, len(pairs.step), size):
        picture, step = (part[first : first + size] for part in pairs)
        order = step.argsort(stable=True)
        batches.append(Pairs(picture[order], step[order]))
    return batches


def at_pairs(trajectory: Trajectory, pairs: Pairs, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x, x_next) of each pair, both (N, C, h, w) where the network runs. Trajectories carry no gradient."""
    latents, (picture, step) = trajectory.latents, pairs
    return latents[picture, step].to(device), latents[picture, step + 1].to(device)

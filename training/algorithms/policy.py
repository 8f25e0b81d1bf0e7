"""Probabilities of denoising steps under the network as it is now, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ...sampling.guidance import Network
from ...sampling.schedules import GaussianSchedule
from ...sampling.steps import log_prob


class Transition(NamedTuple):
    """Hold the Gaussians of N pairs: log_prob (N,) of the steps taken, mean (N, C, h, w), std (N,)."""

    log_prob: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor


def transition(
    network: Network, schedule: GaussianSchedule, x: torch.Tensor, x_next: torch.Tensor, steps: Sequence[int]
) -> Transition:
    """Compute the probability of going from x to x_next under the network as it is now.

    Shape: x, x_next (N, C, h, w); `steps` N indices into the schedule, equal ones side by side. One
    forward for all of them, then the same step functions that sampling uses, a step at a time.
    """
    device = x.device
    counts = {t: steps.count(t) for t in dict.fromkeys(steps)}
    before, after = x.split(list(counts.values())), x_next.split(list(counts.values()))
    seen = torch.cat([schedule.network_input(t, part) for t, part in zip(counts, before, strict=True)])
    times = torch.tensor([schedule.timesteps[t] for t in steps], device=device)
    outputs = network.predict(seen, times).split(list(counts.values()))
    log_probs, means, stds = [], [], []
    for t, part, goal, output in zip(counts, before, after, outputs, strict=True):
        mean, std, _ = schedule.distribution(t, part, output)
        log_probs.append(log_prob(goal, mean, std))
        means.append(mean)
        stds += [std] * len(part)
    return Transition(torch.cat(log_probs), torch.cat(means), torch.tensor(stds, device=device))

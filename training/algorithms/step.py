"""One update: (picture, step) pairs through the network with gradients, in batches, then the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ...core.errors import NonFiniteError
from ...sampling.guidance import Network
from ...sampling.schedules import GaussianSchedule
from ...sampling.steps import log_prob
from ..trajectory import Pairs, Trajectory
from .loss import PairLoss, clipped_loss, kl_to_base, score_loss


class Transition(NamedTuple):
    """The Gaussians of N pairs: log_prob (N,) of the steps taken, mean (N, C, h, w), std (N,)."""

    log_prob: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor


def transition(
    network: Network, schedule: GaussianSchedule, x: torch.Tensor, x_next: torch.Tensor, steps: Sequence[int]
) -> Transition:
    """Probability of going from x to x_next under the network as it is now.

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


def at_pairs(trajectory: Trajectory, pairs: Pairs, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, x_next) of each pair, both (N, C, h, w) where the network runs. Trajectories carry no gradient."""
    latents, (picture, step) = trajectory.latents, pairs
    return latents[picture, step].to(device), latents[picture, step + 1].to(device)


class UpdateStatistics(NamedTuple):
    """Sums over the pairs of an update, to be divided by `pairs`; `largest` is max |ratio - 1|."""

    pairs: float
    loss: float
    kl: float
    ratio: float
    clipped: float
    largest: float


class Objective(NamedTuple):
    """What is minimised.

    Attributes:
        algorithm: "clipped" or "score".
        clip_range: for this size of pictures.
        kl_weight: how much the distance from the base costs.
        gradient_scale: the loss is multiplied by it going backwards; gradients must be divided by it.
    """

    algorithm: str
    clip_range: float
    kl_weight: float
    gradient_scale: float = 1.0


def pair_loss(objective: Objective, now: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor) -> PairLoss:
    """The policy's part of the loss of each pair. Shape: all (N,)."""
    if objective.algorithm == "score":
        return score_loss(now, old, advantage)
    return clipped_loss(now, old, advantage, objective.clip_range)


def learn(
    objective: Objective,
    now: Transition,
    base_mean: torch.Tensor | None,
    old: torch.Tensor,
    advantage: torch.Tensor,
    total: int,
) -> UpdateStatistics:
    """Add one batch's gradient of the loss averaged over `total` pairs.

    Shape: `now` of N pairs, base_mean (N, C, h, w) or None without a KL term, old and advantage (N,).
    Raises NonFiniteError before a NaN reaches a gradient.
    """
    policy = pair_loss(objective, now.log_prob, old, advantage)
    loss, kl = policy.loss, torch.zeros_like(old)
    if base_mean is not None:
        distance = kl_to_base(now.mean, base_mean, now.std)
        loss, kl = loss + objective.kl_weight * distance, distance.detach()
    if not torch.isfinite(loss).all():
        raise NonFiniteError(
            "The loss became NaN or infinite: the network overflowed in learning. Lower learning_rate, or load the "
            "model in float32."
        )
    (loss.sum() / total * objective.gradient_scale).backward()
    return UpdateStatistics(
        len(old),
        float(loss.detach().sum()),
        float(kl.sum()),
        float(policy.ratio.sum()),
        float(policy.clipped.sum()),
        float((policy.ratio - 1).abs().max()),
    )


def added(parts: Sequence[UpdateStatistics]) -> UpdateStatistics:
    """Statistics of several batches together."""
    if not parts:
        return UpdateStatistics(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    *sums, largest = zip(*parts, strict=True)
    return UpdateStatistics(*(sum(column) for column in sums), max(largest))


def optimize(
    optimizer: torch.optim.Optimizer,
    gradient_scale: float,
    max_grad_norm: float,
    learning_rate: float,
    share: Callable[[list[torch.Tensor]], None],
) -> float:
    """Take one optimizer step from the gradients at hand; returns their length before it was limited.

    `share` adds gradients over processes. Raises NonFiniteError with weights and optimizer untouched.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    share([p.grad for p in parameters])
    if gradient_scale != 1.0:
        for p in parameters:
            p.grad /= gradient_scale
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if not torch.isfinite(norm):
        optimizer.zero_grad()
        raise NonFiniteError(
            "The gradient became NaN or infinite; no update was made from it. Load the model in bfloat16 or float32, "
            "or lower learning_rate."
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()
    return float(norm)

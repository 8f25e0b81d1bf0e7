"""The learning half of an epoch: its updates, their batches, and what is told about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ...core.errors import TastemakerError
from ..trajectory import Pairs, Trajectory, choose_pairs, learnable_steps, micro_batches
from .step import Transition, UpdateStatistics, added, at_pairs, learn, optimize, transition

if TYPE_CHECKING:
    from ..worker import Worker


def learn_epoch(
    worker: Worker,
    trajectory: Trajectory,
    advantages: torch.Tensor,
    epoch: int,
    mine: slice,
    counting: Callable[[int], Callable[[int], None]],
) -> dict[str, Any]:
    """All updates of one epoch; returns the figures of its report.

    Shape: `trajectory` of this process's pictures, which are rows `mine` of everybody's B; advantages (B,).
    Which pairs are learned from, and in which update, is the same on every process. `counting` makes,
    from the number of pairs, a function that is told of each batch done; what it raises stops the epoch.
    Pairs whose advantage is 0 have no gradient unless there is a KL term: they are left out, and counted.
    """
    config, learner, processes = worker.config, worker.learner, worker.processes
    steps = learnable_steps(trajectory.stds, config.window_start, config.window_stop)
    plan = choose_pairs(len(advantages), steps, config, epoch)
    kept = [_matter(pairs, advantages, worker.objective.kl_weight) for pairs in plan]
    batches = [micro_batches(_local(pairs, mine), config.train_batch_size) for pairs in kept]
    count = counting(sum(len(b.step) for update in batches for b in update))
    parts, norms, first, rate = [], [], 0.0, learner.learning_rate
    with worker.placed_to_learn(), learner.active(learning=True):
        old = _old_log_probs(worker, trajectory, batches, count)
        for u, (pairs, whole) in enumerate(zip(kept, plan, strict=True)):
            if not len(pairs.step):
                continue
            done = [
                _learn_batch(worker, trajectory, batch, advantages[mine], before, len(whole.step), count)
                for batch, before in zip(batches[u], old[u], strict=True)
            ]
            statistics = added(done)
            if not parts:
                first = processes.largest(statistics.largest)
                _check_first_ratio(worker, first)
            rate = learner.learning_rate
            norms.append(
                optimize(learner.optimizer, worker.objective.gradient_scale, config.max_grad_norm, rate, processes.add)
            )
            learner.updated()
            parts.append(statistics)
    sums = torch.tensor(added(parts)[:5], dtype=torch.float64)
    processes.add([sums])
    learned, total = int(sums[0]), sum(len(pairs.step) for pairs in plan)
    loss, kl, ratio, clipped = (sums[1:] / max(learned, 1)).tolist()
    return {
        "loss": loss,
        "kl": kl,
        "ratio": ratio if learned else 1.0,
        "clip_fraction": clipped,
        "first_ratio_error": first,
        "grad_norm": sum(norms) / max(len(norms), 1),
        "learning_rate": rate,
        "updates": len(norms),
        "pairs": learned,
        "dropped": total - learned,
    }


def _matter(pairs: Pairs, advantages: torch.Tensor, kl_weight: float) -> Pairs:
    """Those of everybody's pairs that have a gradient."""
    if kl_weight:
        return pairs
    rows = advantages[pairs.picture] != 0
    return Pairs(pairs.picture[rows], pairs.step[rows])


def _local(pairs: Pairs, mine: slice) -> Pairs:
    """This process's pairs, their pictures counted from its first."""
    rows = (pairs.picture >= mine.start) & (pairs.picture < mine.stop)
    return Pairs(pairs.picture[rows] - mine.start, pairs.step[rows])


def _transition(worker: Worker, trajectory: Trajectory, batch: Pairs) -> Transition:
    prompts = [trajectory.prompts[i] for i in batch.picture.tolist()]
    network = worker.network(worker.learner.policy, prompts)
    x, x_next = at_pairs(trajectory, batch, worker.device)
    return transition(network, worker.schedule, x, x_next, batch.step.tolist())


def _base_mean(worker: Worker, trajectory: Trajectory, batch: Pairs) -> torch.Tensor:
    """The means of the model before training, for the KL term."""
    prompts = [trajectory.prompts[i] for i in batch.picture.tolist()]
    x, x_next = at_pairs(trajectory, batch, worker.device)
    with worker.learner.as_base() as base, torch.no_grad():
        return transition(worker.network(base, prompts), worker.schedule, x, x_next, batch.step.tolist()).mean


def _old_log_probs(
    worker: Worker, trajectory: Trajectory, batches: list[list[Pairs]], count: Callable[[int], None]
) -> list[list[torch.Tensor | None]]:
    """Log-probabilities before the first update, of each batch, where the network runs.

    In half precision, and where the rollout ran on other kernels, rounding alone moves the ratio past the
    clip range: there they are computed once more, in the very batches that will be learned from. Those of the
    first update are None then: learning computes them itself, before anything has moved. `count` is told of no
    more pairs after each batch, so that it can cancel.
    """
    choice = worker.config.old_log_probs
    exact = worker.learner.policy.dtype == torch.float32 and worker.device.type == "cpu"
    again = choice == "recompute" or (choice == "auto" and not exact)
    if not again:
        return [[trajectory.log_probs[b.picture, b.step].to(worker.device) for b in update] for update in batches]
    first: list[torch.Tensor | None] = [None] * len(batches[0])

    def computed(batch: Pairs) -> torch.Tensor:
        count(0)
        return _transition(worker, trajectory, batch).log_prob

    with torch.no_grad():
        return [first] + [[computed(b) for b in update] for update in batches[1:]]


def _learn_batch(
    worker: Worker,
    trajectory: Trajectory,
    batch: Pairs,
    advantages: torch.Tensor,
    old: torch.Tensor | None,
    total: int,
    count: Callable[[int], None],
) -> UpdateStatistics:
    """Add the gradient of one batch."""
    base_mean = _base_mean(worker, trajectory, batch) if worker.objective.kl_weight else None
    now = _transition(worker, trajectory, batch)
    old = now.log_prob.detach() if old is None else old
    done = learn(worker.objective, now, base_mean, old, advantages[batch.picture].to(worker.device), total)
    count(len(batch.step))
    return done


def _check_first_ratio(worker: Worker, error: float) -> None:
    """Before the first update the ratio is 1 but for rounding; more than the clip range is a wrong gradient."""
    limit = worker.objective.clip_range
    if worker.objective.algorithm == "clipped" and error > limit:
        worker.learner.optimizer.zero_grad()
        raise TastemakerError(
            f"old_log_probs: sampling and learning disagree by {error:.1e} before anything was learned, more than the "
            f"clip range of {limit:.1e}. Set old_log_probs to recompute, or load the model in float32."
        )

"""Denoising diffusion policy optimization (Black et al. 2023, arXiv 2305.13301): PPO on the steps of a rollout.

Legend: B pictures of all processes, N (picture, step) pairs, C h w of what the UNet denoises. A denoising step with
noise is a Gaussian: an action with a probability. Those that led to better pictures are made more likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ...core.errors import TastemakerError
from ...core.progress import Progress
from ...loaders.model import DiffusionModel
from ...sampling.schedules import GaussianSchedule
from ..advantages import keep_extremes
from ..epoch import Epoch
from ..rollout import Request
from ..run.report import Figure
from ..scoring import Scorer
from ..trajectory import Pairs, Trajectory, at_pairs, choose_pairs, learnable_steps, micro_batches
from ..worker import Worker
from .base import Algorithm, Experience, check_finite
from .losses import PairLoss, clipped_loss, kl_to_base, masked_loss, scaled_clip_range, score_loss, step_kl
from .policy import Transition, transition


@dataclass(frozen=True)
class Rollout(Experience):
    """Hold an epoch's pictures: every step of this process's; of all, advantages (B,), and which are `held` (B,)."""

    trajectory: Trajectory
    advantages: torch.Tensor
    held: torch.Tensor


class Old(NamedTuple):
    """Hold what the network said of a micro-batch before the epoch's first update.

    Attributes:
        log_prob: (N,) of the steps taken.
        mean: (N, C, h, w) of the steps, on the CPU; None where `kl_mask` does not ask for it.
    """

    log_prob: torch.Tensor
    mean: torch.Tensor | None = None


class UpdateSums(NamedTuple):
    """Hold sums over the pairs of an update, to be divided by `pairs`; `largest` is max |ratio - 1|."""

    pairs: float
    loss: float
    kl: float
    ratio: float
    clipped: float
    largest: float


class EpochFigures(NamedTuple):
    """Hold what an epoch reports.

    Attributes:
        loss, kl: averages over the pairs; kl is to the model before training, 0 where kl_weight is.
        ratio, clip_fraction: average probability ratio, and the share of pairs that the trust region clipped.
        first_ratio_error: largest |ratio - 1| in the first update, where it must be rounding only.
        grad_norm: average gradient length before it was limited.
        learning_rate: of the last update.
        updates, pairs, dropped: optimizer steps, (picture, step) pairs learned from, and pairs left out because
            their advantage was 0, so that they had no gradient.
    """

    loss: float
    kl: float
    ratio: float
    clip_fraction: float
    first_ratio_error: float
    grad_norm: float
    learning_rate: float
    updates: int
    pairs: int
    dropped: int


class DDPO(Algorithm[Rollout]):
    """DDPO with importance sampling and a clipped ratio (eq. 6)."""

    figures = (
        Figure("loss", "loss"),
        Figure("kl", "distance from the base (KL)", floor=0, if_any=True),
        Figure("clip_fraction", "clip fraction", floor=0),
        Figure("ratio", "probability ratio - 1", minus=1),
        Figure("grad_norm", "gradient", floor=0),
        *map(Figure, ("first_ratio_error", "learning_rate", "updates", "pairs", "dropped")),
    )

    def __init__(self, worker: Worker, scorer: Scorer) -> None:
        super().__init__(worker, scorer)
        self.clip_range = scaled_clip_range(worker.config.clip_range, worker.elements)

    def policy_loss(self, log_prob: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor) -> PairLoss:
        """Compute the policy's part of the loss of each pair. Shape: all (N,)."""
        return clipped_loss(log_prob, old, advantage, self.clip_range)

    def _policy(self, now: Transition, old: Old, advantage: torch.Tensor) -> PairLoss:
        bound = self.worker.config.kl_mask
        if not bound or old.mean is None:
            return self.policy_loss(now.log_prob, old.log_prob, advantage)
        kl = step_kl(now.mean, old.mean.to(self.worker.device), now.std)
        return masked_loss(now.log_prob, old.log_prob, advantage, kl, bound)

    # --- one update, top to bottom --------------------------------------------------------------

    def update(
        self,
        trajectory: Trajectory,
        batches: Sequence[Pairs],
        before: Sequence[Old | None],
        advantages: torch.Tensor,
        held: torch.Tensor,
        total: int,
        progress: Progress,
    ) -> UpdateSums:
        """Add the gradient of the loss averaged over `total` pairs, batch by batch; `Learner.step` takes the step.

        Shape: advantages and held (B / world_size,) of the trajectory's pictures; `before` has an entry for each
        batch, None where the network has not moved since the rollout. Raises NonFiniteError before a NaN reaches a
        gradient.
        """
        worker, config, done = self.worker, self.worker.config, []
        for batch, old in zip(batches, before, strict=True):
            # 1. where the untrained model would have gone; first, while no graph takes memory
            base = self._base_means(trajectory, batch) if config.kl_weight else None
            # 2. log-probability of the steps that were taken: now, and before the epoch's first update
            now = self._transition(worker.learner.policy, trajectory, batch)
            old = Old(now.log_prob.detach(), now.mean.detach()) if old is None else old
            # 3. ratio r = exp(now - old), and the clipped loss max(-A r, -A clip(r, 1 - c, 1 + c)), or the masked one
            policy = self._policy(now, old, advantages[batch.picture].to(worker.device))
            loss = policy.loss
            # 4. distance from the untrained model, of the pictures that are held
            kl = torch.zeros_like(loss) if base is None else kl_to_base(now.mean, base, now.std)
            loss = loss + config.kl_weight * held[batch.picture].to(worker.device) * kl if config.kl_weight else loss
            # 5. the gradient
            check_finite(loss)
            (loss.sum() / total * worker.gradient_scale).backward()
            done.append(_sums(loss.detach(), kl.detach(), policy))
            progress.advance(len(batch.step))
        return added(done)

    # --- an epoch -------------------------------------------------------------------------------

    def collect(self, epoch: Epoch, progress: Progress) -> Rollout:
        """Sample this process's pictures with every step kept, and score them."""
        worker, rows = self.worker, epoch.local_rows
        progress.phase("sampling", (rows.stop - rows.start) * len(worker.schedule.timesteps))
        request = Request(epoch.local_prompts, epoch.local_seeds, epoch.local_starts)
        trajectory, images = worker.sample(request, progress)
        scored = self.scorer.score_epoch(images, epoch, progress)
        return Rollout(scored, trajectory, keep_extremes(scored.advantages, worker.config.learn_from), scored.held)

    def learn(self, epoch: Epoch, experience: Rollout, progress: Progress) -> dict[str, float]:
        """Make all updates of an epoch from its (picture, step) pairs.

        Which pairs are learned from, and in which update, is the same on every process. Pairs whose advantage is 0
        have no gradient unless there is a KL term: they are left out, and counted.
        """
        worker, config, learner = self.worker, self.worker.config, self.worker.learner
        trajectory, advantages, rows = experience.trajectory, experience.advantages, epoch.local_rows
        steps = learnable_steps(trajectory.stds, config.window_start, config.window_stop)
        plan = choose_pairs(len(advantages), steps, config, epoch.number)
        kept = [_with_gradient(pairs, advantages, experience.held if config.kl_weight else None) for pairs in plan]
        batches = [micro_batches(_local(pairs, rows), worker.train_batch_size) for pairs in kept]
        progress.phase("learning", sum(len(b.step) for update in batches for b in update))
        parts, norms, first, rate = [], [], 0.0, learner.learning_rate
        with worker.learning():
            old = self._before(trajectory, batches, progress)
            for u, whole in enumerate(plan):
                if not len(kept[u].step):
                    continue
                mine = (advantages[rows], experience.held[rows])
                parts.append(self.update(trajectory, batches[u], old[u], *mine, len(whole.step), progress))
                if len(parts) == 1:
                    first = worker.processes.all_reduce_max(parts[0].largest)
                    self._check_first_ratio(first)
                rate = learner.learning_rate
                norms += worker.step()
        sums = torch.tensor(added(parts)[:5], dtype=torch.float64)
        worker.processes.all_reduce_sum([sums])
        total = sum(len(pairs.step) for pairs in plan)
        return _figures(sums, first, norms, rate, total)._asdict()

    # --- probabilities --------------------------------------------------------------------------

    def _transition(self, model: DiffusionModel, trajectory: Trajectory, batch: Pairs) -> Transition:
        worker = self.worker
        network = worker.network(model, [trajectory.prompts[i] for i in batch.picture.tolist()])
        x, x_next = at_pairs(trajectory, batch, worker.device)
        assert isinstance(worker.schedule, GaussianSchedule)  # `training_schedule` made it
        return transition(network, worker.schedule, x, x_next, batch.step.tolist())

    def _base_means(self, trajectory: Trajectory, batch: Pairs) -> torch.Tensor:
        with self.worker.learner.as_base() as base, torch.no_grad():
            return self._transition(base, trajectory, batch).mean

    def _before(self, trajectory: Trajectory, batches: list[list[Pairs]], progress: Progress) -> list[list[Old | None]]:
        """Return log-probabilities before the first update, of each batch, where the network runs; means for `kl_mask`.

        In half precision, and where the rollout ran on other kernels, rounding alone moves the ratio past the
        clip range: there they are computed once more, in the very batches that will be learned from. Those of the
        first update are None then: learning computes them itself, before anything has moved.
        """
        worker, policy = self.worker, self.worker.learner.policy
        choice, masked = worker.config.old_log_probs, bool(worker.config.kl_mask)
        exact = policy.dtype == torch.float32 and worker.device.type == "cpu"
        if not masked and (choice == "rollout" or (choice == "auto" and exact)):
            known = trajectory.log_probs
            return [[Old(known[b.picture, b.step].to(worker.device)) for b in update] for update in batches]

        def recompute(batch: Pairs) -> Old | None:
            progress.check_cancelled()
            found = self._transition(policy, trajectory, batch)
            return Old(found.log_prob, found.mean.cpu() if masked else None)

        first: list[Old | None] = [None] * len(batches[0])
        with torch.no_grad():
            return [first, *([recompute(b) for b in update] for update in batches[1:])]

    def _check_first_ratio(self, error: float) -> None:
        """Before the first update the ratio is 1 but for rounding; more than the clip range is a wrong gradient."""
        if error > self.clip_range:
            self.worker.learner.optimizer.zero_grad()
            raise TastemakerError(
                f"old_log_probs: sampling and learning disagree by {error:.1e} before anything was learned, more than "
                f"the clip range of {self.clip_range:.1e}. Set old_log_probs to recompute, or load the model in "
                "float32."
            )


class ScoreFunction(DDPO):
    """DDPO as the plain policy gradient (eq. 5), right for one update an epoch. Nothing is clipped."""

    def policy_loss(self, log_prob: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor) -> PairLoss:
        return score_loss(log_prob, old, advantage)

    def _check_first_ratio(self, error: float) -> None:
        """Accept any: the gradient does not depend on the ratio."""


def _with_gradient(pairs: Pairs, advantages: torch.Tensor, held: torch.Tensor | None) -> Pairs:
    """Return the pairs with an advantage, or held where there is a KL term."""
    rows = advantages[pairs.picture] != 0
    if held is not None:
        rows |= held[pairs.picture] != 0
    return Pairs(pairs.picture[rows], pairs.step[rows])


def _local(pairs: Pairs, local_rows: slice) -> Pairs:
    """Return this process's pairs, their pictures counted from its first."""
    rows = (pairs.picture >= local_rows.start) & (pairs.picture < local_rows.stop)
    return Pairs(pairs.picture[rows] - local_rows.start, pairs.step[rows])


def _sums(loss: torch.Tensor, kl: torch.Tensor, policy: PairLoss) -> UpdateSums:
    return UpdateSums(
        pairs=len(loss),
        loss=float(loss.sum()),
        kl=float(kl.sum()),
        ratio=float(policy.ratio.sum()),
        clipped=float(policy.clipped.sum()),
        largest=float((policy.ratio - 1).abs().max()),
    )


def added(parts: Sequence[UpdateSums]) -> UpdateSums:
    """Return the sums of several batches together."""
    if not parts:
        return UpdateSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    columns = list(zip(*parts, strict=True))
    return UpdateSums._make([*map(sum, columns[:-1]), max(columns[-1])])


def _figures(sums: torch.Tensor, first: float, norms: list[float], rate: float, total: int) -> EpochFigures:
    learned = int(sums[0])
    loss, kl, ratio, clipped = (sums[1:] / max(learned, 1)).tolist()
    return EpochFigures(
        loss=loss,
        kl=kl,
        ratio=ratio if learned else 1.0,
        clip_fraction=clipped,
        first_ratio_error=first,
        grad_norm=sum(norms) / max(len(norms), 1),
        learning_rate=rate,
        updates=len(norms),
        pairs=learned,
        dropped=total - learned,
    )

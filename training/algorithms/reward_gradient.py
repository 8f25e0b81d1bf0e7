"""Reward gradients: the gradient of a differentiable reward, through the VAE and one answer of the network.

DRaFT-1 and DRaFT-LV (Clark et al. 2023, arXiv 2309.17400) and Direct-Align (Shen et al. 2025, arXiv 2509.06942). They
need fewer pictures than anything that learns from scores alone, and find what a reward has overlooked sooner.

Legend: B pictures of all processes, N (picture, draw) pairs, C h w of what the UNet denoises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from ...core.errors import InputError
from ...core.progress import Progress
from ...loaders.model import DiffusionModel
from ...sampling.decode import decode_with_gradient, vae_bytes
from ...sampling.schedules import Schedule
from ...sampling.steps import Coefficients, predict_x0
from ..config import FineTuneConfig
from ..epoch import Epoch
from ..forward_process import draw_noise, draw_timesteps, noise_levels, noised, realigned
from ..learner.memory import saved_bytes
from ..rollout import Request, sampling_schedule
from ..run.report import Figure
from ..scoring import RewardTerm, Scorer
from ..trajectory import Pairs
from ..worker import Worker
from .base import Algorithm, Experience, check_finite
from .matching import check_not_distilled, local_pairs, pair_batches

_LEAST_SPREAD = 1e-6
_RECOMPUTED = 3  # times the VAE's working memory: what its widest block keeps while it is run again


class Usual(NamedTuple):
    """Hold what a reward's scores are like, so that gains of several can be added."""

    mean: float
    spread: float


@dataclass(frozen=True)
class Sampled(Experience):
    """Hold an epoch's pictures of this process: last latents and those before the last step (B / world, C, h, w).

    Attributes:
        usual: mean and standard deviation of each term's scores over all B pictures.
        held: (B,) of all, 1 where the distance to the base counts, else 0.
    """

    latents: torch.Tensor
    before_last: torch.Tensor
    usual: tuple[Usual, ...]
    held: torch.Tensor


class Batch(NamedTuple):
    """Hold a micro-batch where the network runs: x0, noise, x_t (N, C, h, w), timesteps, those after and held (N,)."""

    x0: torch.Tensor
    noise: torch.Tensor
    x_t: torch.Tensor
    timesteps: torch.Tensor
    later: torch.Tensor
    held: torch.Tensor
    prompts: list[str]


class UpdateSums(NamedTuple):
    """Hold sums over the pairs of an update, to be divided by `pairs`."""

    pairs: float = 0.0
    loss: float = 0.0
    distance: float = 0.0


class RewardGradient(Algorithm[Sampled]):
    """Climbing the reward itself; the form is `gradient_form`.

    Raises InputError for a reward without gradients, OutOfMemoryError where VAE and reward would not fit.
    """

    figures = (
        Figure("loss", "loss (minus the gain)"),
        Figure("distance", "distance from the base", floor=0, if_any=True),
        Figure("grad_norm", "gradient", floor=0),
        *map(Figure, ("learning_rate", "updates", "pairs")),
    )

    def __init__(self, worker: Worker, scorer: Scorer) -> None:
        super().__init__(worker, scorer)
        for term in scorer.terms:
            check_differentiable(term)
        self.levels = noise_levels(worker.model)
        worker.keep_more(self._kept_bytes())

    @classmethod
    def schedule(cls, model: DiffusionModel, config: FineTuneConfig) -> Schedule:
        """Return what pictures are sampled by while training: any scheduler. Raises InputError for distilled models."""
        check_not_distilled(model)
        return sampling_schedule(model, config)

    # --- one update, top to bottom --------------------------------------------------------------

    def update(self, batches: Sequence[Batch], usual: Sequence[Usual], total: int, progress: Progress) -> UpdateSums:
        """Add the gradient of minus the reward averaged over `total` pairs; `Learner.step` takes the step.

        Raises NonFiniteError before a NaN reaches a gradient.
        """
        worker, config, done = self.worker, self.worker.config, []
        for batch in batches:
            # 1. what the untrained model says; first, while no graph takes memory
            e_ref = self._base_noise(batch) if config.reference_weight else None
            # 2. the picture that one answer of the network leads to
            clean, e = self._answer(worker.learner.policy, batch)
            x0 = clean if config.gradient_form != "direct_align" else self._realigned(batch, e)
            # 3. how much better than the epoch's it pleases, in their standard deviations
            pictures = decode_with_gradient(worker.model, x0)
            loss = -self._reward(pictures, batch.prompts, usual)
            # 4. distance from the untrained model, of the pictures that are held
            distance = torch.zeros_like(loss) if e_ref is None else (e - e_ref).square().mean(dim=(1, 2, 3))
            loss = loss + config.reference_weight * (batch.held * distance).to(loss.device)
            # 5. the gradient
            check_finite(loss, "the network or the reward")
            (loss.sum() / total * worker.gradient_scale).backward()
            done.append(UpdateSums(len(loss), float(loss.detach().sum()), float(distance.detach().sum())))
            progress.advance(len(batch.prompts))
        return _added(done)

    # --- an epoch -------------------------------------------------------------------------------

    def collect(self, epoch: Epoch, progress: Progress) -> Sampled:
        """Sample this process's pictures, keep where their last step begins and ends, and score them."""
        worker, rows = self.worker, epoch.local_rows
        progress.phase("sampling", (rows.stop - rows.start) * len(worker.schedule.timesteps))
        request = Request(epoch.local_prompts, epoch.local_seeds, epoch.local_starts)
        before = torch.empty(rows.stop - rows.start, worker.model.channels, *self._latent_size())
        latents = worker.sample_latents(request, progress, before_last=before)
        scored = self.scorer.score_epoch(worker.decode(latents, progress), epoch, progress)
        least = max(worker.config.min_spread, _LEAST_SPREAD)
        columns = (scored.columns[term.name] for term in self.scorer.terms)
        usual = tuple(Usual(float(column.mean()), max(float(column.std()), least)) for column in columns)
        return Sampled(scored, latents, before, usual, scored.held)

    def learn(self, epoch: Epoch, experience: Sampled, progress: Progress) -> dict[str, float]:
        """Make all updates of an epoch. Timesteps, noise and updates are the same on every process."""
        worker, config, learner = self.worker, self.worker.config, self.worker.learner
        once = config.gradient_form == "draft_1"  # which draws no noise: a second time would be the first again
        asked = replace(config, timesteps_per_picture=1) if once else config
        draws = draw_timesteps(len(epoch.prompts), len(self.levels.alphas), asked, epoch.number)
        plan = [pair_batches(local_pairs(pairs, epoch.local_rows), worker.train_batch_size) for pairs in draws.updates]
        progress.phase("learning", sum(len(pairs.step) for update in plan for pairs in update))
        parts, norms, rate = [], [], learner.learning_rate
        with worker.learning(self._modules()):
            for whole, mine in zip(draws.updates, plan, strict=True):
                batches = [self._batch(pairs, draws.timesteps, epoch, experience) for pairs in mine]
                parts.append(self.update(batches, experience.usual, len(whole.step), progress))
                rate = learner.learning_rate
                norms += worker.step()
        sums = torch.tensor(_added(parts), dtype=torch.float64)
        worker.processes.all_reduce_sum([sums])
        pairs, loss, distance = sums.tolist()
        return {
            "loss": loss / max(pairs, 1),
            "distance": distance / max(pairs, 1),
            "grad_norm": sum(norms) / max(len(norms), 1),
            "learning_rate": rate,
            "updates": len(norms),
            "pairs": int(pairs),
        }

    def sample(
        self, request: Request, progress: Progress, *, base: bool = False, averaged: bool = False
    ) -> torch.Tensor:
        """Return pictures (B, H, W, 3) by the training sampler."""
        return self.worker.decode(self.worker.sample_latents(request, progress, base=base, averaged=averaged), progress)

    # --- pictures -------------------------------------------------------------------------------

    def _batch(self, pairs: Pairs, drawn: torch.Tensor, epoch: Epoch, experience: Sampled) -> Batch:
        """Make what the network is asked about; `pairs` count those of all processes, and are this one's."""
        device, config, local = self.worker.device, self.worker.config, pairs.picture - epoch.local_rows.start
        x0 = experience.latents[local].to(device)
        noise = draw_noise(pairs, x0.shape[1:], config, epoch.number, device)
        prompts = [epoch.prompts[i] for i in pairs.picture.tolist()]
        last = min(max(round(self.worker.schedule.timesteps[-1]), 0), len(self.levels.alphas) - 1)
        times = torch.full_like(pairs.picture, last)
        if config.gradient_form == "direct_align":
            times = drawn[pairs.picture, pairs.step]
        later = (times - len(self.levels.alphas) // config.steps).clamp(min=0)
        if config.gradient_form == "draft_1":
            x_t = experience.before_last[local].to(device)
        else:
            x_t, _ = noised(x0, noise, self.levels.alphas[times].to(device), self.levels.prediction_type)
        held = experience.held[pairs.picture].to(device)
        return Batch(x0, noise, x_t, times.to(device), later.to(device), held, prompts)

    def _answer(self, model: DiffusionModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clean sample and the noise that the network sees in x_t, guided as in sampling."""
        output = self.worker.network(model, batch.prompts).predict(batch.x_t, batch.timesteps)
        level = self.levels.alphas.to(output.device)[batch.timesteps].view(-1, 1, 1, 1)
        return predict_x0(batch.x_t, output, Coefficients(level, level, self.levels.prediction_type))

    def _realigned(self, batch: Batch, e: torch.Tensor) -> torch.Tensor:
        alphas = self.levels.alphas.to(e.device)
        return realigned(batch.x0, batch.noise, e, alphas[batch.timesteps], alphas[batch.later])

    def _base_noise(self, batch: Batch) -> torch.Tensor:
        with self.worker.learner.as_base() as base, torch.no_grad():
            return self._answer(base, batch)[1]

    def _reward(self, pictures: torch.Tensor, prompts: Sequence[str], usual: Sequence[Usual]) -> torch.Tensor:
        """Sum the terms' gains with gradients, each by its weight and in its own standard deviations: (N,)."""
        total = torch.zeros(len(pictures), device=pictures.device)
        for term, (mean, spread) in zip(self.scorer.terms, usual, strict=True):
            gain = term.score.with_gradient(pictures, prompts).to(pictures.device) - mean
            total = total + term.weight / spread * gain
        return total

    # --- memory ---------------------------------------------------------------------------------

    def _modules(self) -> list[nn.Module]:
        vae = [self.worker.model.vae] if self.worker.model.vae is not None else []
        return [*vae, *(module for term in self.scorer.terms for module in term.score.modules.values())]

    def _latent_size(self) -> tuple[int, int]:
        height, width = self.worker.size
        return height // self.worker.model.downscale, width // self.worker.model.downscale

    def _kept_bytes(self) -> int:
        """Count what VAE and reward keep for a picture, from one that is run through them."""
        worker = self.worker
        again = vae_bytes(worker.model, *worker.size, _RECOMPUTED)
        with worker.place(self._modules(), again):
            one = torch.zeros(1, worker.model.channels, *self._latent_size(), device=worker.device, requires_grad=True)
            usual = [Usual(0.0, 1.0)] * len(self.scorer.terms)
            return again + saved_bytes(lambda: self._reward(decode_with_gradient(worker.model, one), ["a"], usual))


def check_differentiable(term: RewardTerm) -> None:
    """Raise InputError for a reward whose gradients do not reach the pictures."""
    if not getattr(term.score, "differentiable", False):
        raise InputError(
            "reward",
            term.name,
            "It has no gradients, which algorithm reward_gradient climbs. Pick matching as the algorithm, which needs "
            "none, or another reward; of combined ones each member needs gradients, and mode standardised.",
        )


def _added(parts: Sequence[UpdateSums]) -> UpdateSums:
    return UpdateSums._make(map(sum, zip(*parts, strict=True))) if parts else UpdateSums()

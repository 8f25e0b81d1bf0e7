"""Matching: learn from finished pictures alone, noised afresh (forward-process policy optimization).

DiffusionNFT (Zheng et al. 2025, arXiv 2509.16117) and advantage-weighted matching (Xue et al. 2025, arXiv 2509.25050)
in one loss. Denoising of what pleased more than its group is made better, of what pleased less worse. Any scheduler
makes the pictures, with guidance; what learns is the network's answer to the prompt alone, which guidance starts from.

Legend: B pictures of all processes, N (picture, timestep) pairs, C h w of what the UNet denoises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import torch

from ...core.errors import InputError
from ...core.progress import Cancellable, Progress
from ...loaders.model import DiffusionModel
from ...loaders.single_file.settings import is_distilled
from ...sampling.schedules import Schedule
from ..advantages import keep_extremes, saturated
from ..config import FineTuneConfig
from ..epoch import Epoch
from ..forward_process import draw_noise, draw_timesteps, noise_levels, noised
from ..rollout import Request, sampling_schedule
from ..run.report import Figure
from ..scoring import Scorer
from ..shared_rollouts import Part, SharedRollouts, joined, units
from ..trajectory import Pairs
from ..worker import Worker
from .base import Algorithm, Experience, check_finite
from .losses import matching_loss, matching_terms

REHEARSED = 4  # of so many pictures of an epoch, one is made by the base too where that is rehearsed

_FEW_STEPS = ("LCMScheduler", "TCDScheduler")
_NONE = Pairs(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))


@dataclass(frozen=True)
class Finished(Experience):
    """Hold an epoch's pictures.

    Attributes:
        latents: this process's, (B / world_size, C, h, w).
        advantages: (B,) of all.
        held: (B,) of all, 1 where the distance to the base counts, else 0.
        own: what the base would have made of this process's rows `rehearsed_rows`, (R, C, h, w); None where nothing is
            rehearsed.
    """

    latents: torch.Tensor
    advantages: torch.Tensor
    held: torch.Tensor
    own: torch.Tensor | None


class Batch(NamedTuple):
    """Hold a micro-batch where the network runs: x_t, target (N, C, h, w); timesteps, advantage, held (N,); prompts."""

    x_t: torch.Tensor
    target: torch.Tensor
    timesteps: torch.Tensor
    advantage: torch.Tensor
    held: torch.Tensor
    prompts: list[str]


class UpdateSums(NamedTuple):
    """Hold sums over the pairs of an update, to be divided by `pairs`."""

    pairs: float = 0.0
    loss: float = 0.0
    error: float = 0.0
    moved: float = 0.0
    distance: float = 0.0


class Rehearsal(NamedTuple):
    """Hold sums over the pairs that an update rehearses, to be divided by `rehearsed`."""

    rehearsed: float = 0.0
    forgotten: float = 0.0


Sums = TypeVar("Sums", UpdateSums, Rehearsal)


class Matching(Algorithm[Finished]):
    """Learning from the forward process (NFT, AWM, weighted regression); the form is `matching_form`."""

    figures = (
        Figure("loss", "loss"),
        Figure("error", "error in denoising its own pictures", floor=0),
        Figure("moved", "change within an epoch", floor=0, if_any=True),
        Figure("distance", "distance from the base", floor=0, if_any=True),
        Figure("forgotten", "forgotten", floor=0, if_any=True),
        Figure("grad_norm", "gradient", floor=0),
        *map(Figure, ("learning_rate", "updates", "pairs", "dropped")),
    )

    def __init__(self, worker: Worker, scorer: Scorer) -> None:
        super().__init__(worker, scorer)
        self.levels = noise_levels(worker.model)
        self.shared: SharedRollouts | None = None  # where others may make an epoch's pictures

    @classmethod
    def schedule(cls, model: DiffusionModel, config: FineTuneConfig) -> Schedule:
        """Return what pictures are sampled by while training: any scheduler. Raises InputError for distilled models."""
        check_not_distilled(model)
        return sampling_schedule(model, config)

    # --- one update, top to bottom --------------------------------------------------------------

    def update(
        self, batches: Sequence[Batch], old: Sequence[torch.Tensor | None], total: int, progress: Progress
    ) -> UpdateSums:
        """Add the gradient of the loss averaged over `total` pairs, batch by batch; `Learner.step` takes the step.

        `old` has the network's outputs (N, C, h, w) before the epoch's first update for each batch, None where it has
        not moved since. Raises NonFiniteError before a NaN reaches a gradient.
        """
        worker, config, done = self.worker, self.worker.config, []
        for batch, before in zip(batches, old, strict=True):
            # 1. what the untrained model says; first, while no graph takes memory
            e_ref = self._base_output(batch) if config.reference_weight else None
            # 2. what the network says of the noised pictures: now, and before the epoch's first update
            e = self._output(worker.learner.policy, batch)
            e_old = e.detach() if before is None else before.to(worker.device)
            # 3. towards what pleased, away from what did not, and not far from e_old and e_ref
            terms = matching_terms(config.matching_form, batch.advantage, config.proximal_weight)
            beta = config.reference_weight * batch.held
            loss = matching_loss(e, e_old, e_ref, batch.target, **terms._asdict(), beta=beta)
            # 4. the gradient
            check_finite(loss)
            (loss.sum() / total * worker.gradient_scale).backward()
            done.append(_sums(loss.detach(), e.detach(), e_old, e_ref, batch.target))
            progress.advance(len(batch.prompts))
        return _added(done, UpdateSums())

    def rehearse(self, batches: Sequence[Batch], total: int, progress: Progress) -> Rehearsal:
        """Add the gradient that keeps the base's own pictures denoised as it does: `rehearsal_weight` |e - e_ref|^2.

        On average over the noise it is the gradient of denoising them, |e - target|^2 (Ye et al. 2025, DDRL, arXiv
        2512.04332), where the base has none, and with less variance.
        """
        worker, done = self.worker, []
        for batch in batches:
            e_ref = self._base_output(batch)
            forgotten = (self._output(worker.learner.policy, batch) - e_ref).square().mean(dim=(1, 2, 3))
            check_finite(forgotten)
            (worker.config.rehearsal_weight * forgotten.sum() / total * worker.gradient_scale).backward()
            done.append(Rehearsal(len(forgotten), float(forgotten.detach().sum())))
            progress.advance(len(batch.prompts))
        return _added(done, Rehearsal())

    # --- an epoch -------------------------------------------------------------------------------

    def collect(self, epoch: Epoch, progress: Progress) -> Finished:
        """Sample this process's pictures, of which the last latents are kept, and score them."""
        worker, config, rows = self.worker, self.worker.config, epoch.local_rows
        progress.phase("sampling", (rows.stop - rows.start) * len(worker.schedule.timesteps))
        request = Request(epoch.local_prompts, epoch.local_seeds, epoch.local_starts)
        if self.shared is not None:
            whole = self._shared_epoch(epoch, self.shared, progress)
            latents, scored = whole.latents, self.scorer.compared(whole.columns, epoch)
        else:
            latents = worker.sample_latents(request, progress)
            scored = self.scorer.score_epoch(worker.decode(latents, progress), epoch, progress)
        advantages = saturated(keep_extremes(scored.advantages, config.learn_from), config.advantage_saturation)
        if config.matching_form == "regression":
            advantages = advantages.clamp(min=0)  # what pleased less has no part in it
        own = self._own(epoch, progress) if config.rehearsal_weight else None
        return Finished(scored, latents, advantages, scored.held, own)

    def part(self, epoch: Epoch, rows: range, progress: Progress) -> Part:
        """Make some rows of an epoch by the policy as it is: sample them, and score them."""
        some = slice(rows.start, rows.stop)
        starts = None if epoch.starts is None else epoch.starts[some]
        latents = self.worker.sample_latents(Request(epoch.prompts[some], epoch.seeds[some], starts), progress)
        pictures = self.worker.decode(latents, progress)
        return Part(latents, self.scorer.columns(pictures, epoch.prompts[some], Cancellable(progress)))

    def _shared_epoch(self, epoch: Epoch, shared: SharedRollouts, progress: Progress) -> Part:
        config = self.worker.config
        parts = units(config.samples_per_epoch, config.group_size)
        return joined(shared.collect(epoch, parts, partial(self.part, epoch, progress=progress), progress))

    def _own(self, epoch: Epoch, progress: Progress) -> torch.Tensor:
        """Sample what the base would have made of some of this process's pictures, of the same seeds."""
        worker, rows = self.worker, rehearsed_rows(epoch.local_rows)
        if not rows:  # of so many processes that this one has none
            height, width = (side // worker.model.downscale for side in worker.size)
            return torch.empty(0, worker.model.channels, height, width)
        starts = None if epoch.starts is None else [epoch.starts[i] for i in rows]
        request = Request([epoch.prompts[i] for i in rows], [epoch.seeds[i] for i in rows], starts)
        progress.phase("rehearsing", len(rows) * len(worker.schedule.timesteps))
        return worker.sample_latents(request, progress, base=True)

    def learn(self, epoch: Epoch, experience: Finished, progress: Progress) -> dict[str, float]:
        """Make all updates of an epoch.

        Timesteps, noise and updates are the same on every process. Pictures whose advantage is 0 are left out, and
        counted, unless `reference_weight` gives them a gradient.
        """
        worker, config, learner = self.worker, self.worker.config, self.worker.learner
        draws = draw_timesteps(len(experience.advantages), len(self.levels.alphas), config, epoch.number)
        kept = [self._kept(pairs, experience) for pairs in draws.updates]
        plan = [pair_batches(local_pairs(pairs, epoch.local_rows), worker.train_batch_size) for pairs in kept]
        again = [self._again(*both) for both in zip(draws.updates, kept, strict=True)]
        also = [pair_batches(local_pairs(pairs, epoch.local_rows), worker.train_batch_size) for pairs in again]
        progress.phase("learning", sum(len(pairs.step) for update in (*plan, *also) for pairs in update))
        parts, rehearsed, norms, rate = [], [], [], learner.learning_rate
        with worker.learning():
            first = next((u for u, pairs in enumerate(kept) if len(pairs.step)), 0)  # of all processes
            old = self._old_outputs(plan, first, draws.timesteps, epoch, experience, progress)
            for u, whole in enumerate(draws.updates):
                if not len(kept[u].step):
                    continue
                batches = [self._batch(pairs, draws.timesteps, epoch, experience) for pairs in plan[u]]
                parts.append(self.update(batches, old[u], len(whole.step), progress))
                batches = [self._own_batch(pairs, draws.timesteps, epoch, experience) for pairs in also[u]]
                rehearsed.append(self.rehearse(batches, len(again[u].step), progress))
                rate = learner.learning_rate
                norms += worker.step()
        sums = torch.tensor(_added(parts, UpdateSums()), dtype=torch.float64)
        more = torch.tensor(_added(rehearsed, Rehearsal()), dtype=torch.float64)
        worker.processes.all_reduce_sum([sums, more])
        figures = _figures(sums, norms, rate, sum(len(pairs.step) for pairs in draws.updates))
        return figures | {"forgotten": float(more[1] / max(more[0], 1))}

    def sample(
        self, request: Request, progress: Progress, *, base: bool = False, averaged: bool = False
    ) -> torch.Tensor:
        """Return pictures (B, H, W, 3) by the training sampler."""
        return self.worker.decode(self.worker.sample_latents(request, progress, base=base, averaged=averaged), progress)

    # --- outputs --------------------------------------------------------------------------------

    def _kept(self, pairs: Pairs, experience: Finished) -> Pairs:
        rows = experience.advantages[pairs.picture] != 0
        if self.worker.config.reference_weight:
            rows |= experience.held[pairs.picture] != 0
        return Pairs(pairs.picture[rows], pairs.step[rows])

    def _again(self, pairs: Pairs, kept: Pairs) -> Pairs:
        """Return the pairs of an update that it rehearses; none where it learns nothing."""
        return rehearsed_pairs(pairs) if self.worker.config.rehearsal_weight and len(kept.step) else _NONE

    def _batch(self, pairs: Pairs, timesteps: torch.Tensor, epoch: Epoch, experience: Finished) -> Batch:
        """Noise pictures; `pairs` count those of all processes, and are this one's."""
        x0 = experience.latents[pairs.picture - epoch.local_rows.start]
        return self._noised(x0, pairs, timesteps, epoch, experience)

    def _own_batch(self, pairs: Pairs, timesteps: torch.Tensor, epoch: Epoch, experience: Finished) -> Batch:
        """Noise what the base made of the pictures that `pairs` name, as these are."""
        assert experience.own is not None
        place = torch.searchsorted(torch.tensor(rehearsed_rows(epoch.local_rows)), pairs.picture)
        return self._noised(experience.own[place], pairs, timesteps, epoch, experience)

    def _noised(
        self, x0: torch.Tensor, pairs: Pairs, timesteps: torch.Tensor, epoch: Epoch, experience: Finished
    ) -> Batch:
        device = self.worker.device
        chosen, x0 = timesteps[pairs.picture, pairs.step], x0.to(device)
        noise = draw_noise(pairs, x0.shape[1:], self.worker.config, epoch.number, device)
        x_t, target = noised(x0, noise, self.levels.alphas[chosen].to(device), self.levels.prediction_type)
        prompts = [epoch.prompts[i] for i in pairs.picture.tolist()]
        advantage, held = (rows[pairs.picture].to(device) for rows in (experience.advantages, experience.held))
        return Batch(x_t, target, chosen.to(device), advantage, held, prompts)

    def _output(self, model: DiffusionModel, batch: Batch) -> torch.Tensor:
        return self.worker.network(model, batch.prompts).predict(batch.x_t, batch.timesteps)

    def _base_output(self, batch: Batch) -> torch.Tensor:
        with self.worker.learner.as_base() as base, torch.no_grad():
            return self._output(base, batch)

    def _old_outputs(
        self,
        plan: list[list[Pairs]],
        first: int,
        timesteps: torch.Tensor,
        epoch: Epoch,
        experience: Finished,
        progress: Progress,
    ) -> list[list[torch.Tensor | None]]:
        """Return outputs before the first update, of each batch, on the CPU.

        Those of the first update that any process makes are None: learning computes them itself, before anything has
        moved.
        """

        def output(pairs: Pairs) -> torch.Tensor:
            progress.check_cancelled()
            return self._output(self.worker.learner.policy, self._batch(pairs, timesteps, epoch, experience)).cpu()

        with torch.no_grad():
            return [[None if u == first else output(b) for b in update] for u, update in enumerate(plan)]


def check_not_distilled(model: DiffusionModel, otherwise: str = ", or pick clipped as the algorithm") -> None:
    """Raise InputError for a model, or a LoRA on one, that was distilled to a few steps, as far as that can be known.

    Such networks were not taught by this loss: training them with it undoes what they were distilled for
    (NVlabs/DiffusionNFT, issue 45).
    """
    why = ""
    if model.guidance_embedding is not None:
        why = "its network takes the guidance scale, as LCM models do"
    elif model.scheduler_config.get("_class_name") in _FEW_STEPS:
        why = f"its scheduler is {model.scheduler_config['_class_name']}"
    elif is_distilled(model.name, {}):
        why = "its name says so"
    else:
        names = [applied.lora.name for applied in model.loras if is_distilled(applied.lora.name, {})]
        why = f"the LoRA {names[0]} on it says so" if names else ""
    if why:
        raise InputError(
            "model",
            model.name,
            f"It was distilled to a few steps ({why}), which learning from finished pictures would undo. Train the "
            f"model it was made from{otherwise}.",
        )


def local_pairs(pairs: Pairs, local_rows: slice) -> Pairs:
    """Return the pairs of this process's pictures."""
    rows = (pairs.picture >= local_rows.start) & (pairs.picture < local_rows.stop)
    return Pairs(pairs.picture[rows], pairs.step[rows])


def rehearsed_rows(rows: slice) -> list[int]:
    """Return which of some rows are made by the base too: every fourth of all processes' rows."""
    return [i for i in range(rows.start, rows.stop) if i % REHEARSED == 0]


def rehearsed_pairs(pairs: Pairs) -> Pairs:
    """Return the pairs of pictures that are made by the base too."""
    rows = pairs.picture % REHEARSED == 0
    return Pairs(pairs.picture[rows], pairs.step[rows])


def pair_batches(pairs: Pairs, size: int) -> list[Pairs]:
    """Split pairs into micro-batches of `size`, in their order."""
    parts = zip(pairs.picture.split(size), pairs.step.split(size), strict=True)
    return [Pairs(picture, step) for picture, step in parts if len(step)]


def _mean_square(difference: torch.Tensor) -> float:
    return float(difference.square().mean(dim=(1, 2, 3)).sum())


def _sums(
    loss: torch.Tensor, e: torch.Tensor, e_old: torch.Tensor, e_ref: torch.Tensor | None, target: torch.Tensor
) -> UpdateSums:
    return UpdateSums(
        pairs=len(loss),
        loss=float(loss.sum()),
        error=_mean_square(e - target),
        moved=_mean_square(e - e_old),
        distance=0.0 if e_ref is None else _mean_square(e - e_ref),
    )


def _added(parts: Sequence[Sums], nothing: Sums) -> Sums:
    return type(nothing)(*map(sum, zip(*parts, strict=True))) if parts else nothing


def _figures(sums: torch.Tensor, norms: list[float], rate: float, total: int) -> dict[str, float]:
    learned = int(sums[0])
    averages = dict(zip(UpdateSums._fields[1:], (sums[1:] / max(learned, 1)).tolist(), strict=True))
    return {
        **averages,
        "grad_norm": sum(norms) / max(len(norms), 1),
        "learning_rate": rate,
        "updates": len(norms),
        "pairs": learned,
        "dropped": total - learned,
    }

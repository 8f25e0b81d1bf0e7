"""Preference: learn from pairs and ranked groups of given pictures, without a reward and without sampling.

Denoising of the better picture is made better than the untrained model's, of the worse one worse. How far, each
`preference_form` says: matching holds every picture near the base by itself (the loss of DiffusionNFT, Zheng et al.
2025, arXiv 2509.16117, with the base as the old policy); dpo goes on for as long as the group is not told apart
(Wallace et al. 2023, arXiv 2311.12908; for groups Luo et al. 2025, arXiv 2510.08425). All pictures of a group are
noised to the same timestep by the same noise.

Legend: P pictures, G groups of an epoch (all processes), N rows, C h w of what the UNet denoises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ...core.errors import InputError
from ...core.progress import Progress
from ...images.batch import fitted
from ...images.pictures import picture_of
from ...loaders.model import DiffusionModel
from ...sampling.decode import encode_images, vae_bytes
from ...sampling.schedules import Schedule
from ..config import FineTuneConfig
from ..epoch import Epoch, epoch_places
from ..forward_process import draw_noise, draw_timesteps, noise_levels, noised
from ..preference.config import PreferenceConfig
from ..preference.preferences import Preferences, Ranked
from ..rollout import Request, sampling_schedule
from ..run.report import Figure
from ..scoring import Scorer
from ..trajectory import Pairs
from ..worker import Worker
from .base import Algorithm, Experience, check_finite
from .losses import denoising_error, matching_loss, preference_loss
from .matching import check_not_distilled

_ASKED_AT = 8  # timesteps at which a held-out pair is asked


@dataclass(frozen=True)
class Chosen(Experience):
    """Hold an epoch's groups, those of all processes."""

    groups: list[Ranked]


class Batch(NamedTuple):
    """Hold whole groups, where the network runs.

    Attributes:
        x_t, target: (N, C, h, w).
        mask: (N, 1, h, w), None for whole pictures.
        timesteps, advantage, group: (N,); `group` counts from 0.
        weight: of each group.
        prompts: N texts.
    """

    x_t: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor | None
    timesteps: torch.Tensor
    advantage: torch.Tensor
    group: torch.Tensor
    weight: torch.Tensor
    prompts: list[str]

    def chunks(self, size: int) -> Iterator[Batch]:
        """Split it into rows that go through the network at once; groups may be cut."""
        for first in range(0, len(self.prompts), size):
            rows = slice(first, first + size)
            yield Batch(
                self.x_t[rows],
                self.target[rows],
                None if self.mask is None else self.mask[rows],
                self.timesteps[rows],
                self.advantage[rows],
                self.group[rows],
                self.weight,
                self.prompts[rows],
            )


class UpdateSums(NamedTuple):
    """Hold sums over the groups of an update, to be divided by `pairs`."""

    pairs: float = 0.0
    loss: float = 0.0
    accuracy: float = 0.0
    margin: float = 0.0
    drift: float = 0.0


class Preference(Algorithm[Chosen]):
    """Learning from given preferences; those to learn from are `known`."""

    figures = (
        Figure("loss", "loss"),
        Figure("accuracy", "pairs agreed on", floor=0.5),
        Figure("margin", "told apart by"),
        Figure("drift", "better unlearned", floor=0),
        Figure("grad_norm", "gradient", floor=0),
        *map(Figure, ("learning_rate", "updates", "pairs")),
    )

    def __init__(self, worker: Worker, scorer: Scorer, preferences: Preferences, known: Sequence[Ranked]) -> None:
        super().__init__(worker, scorer)
        assert isinstance(worker.config, PreferenceConfig)
        self.config, self.preferences, self.known = worker.config, preferences, tuple(known)
        self.levels = noise_levels(worker.model)
        self.given = {"preferences": preferences.fingerprint}
        self._latents: torch.Tensor | None = None
        self._masks: torch.Tensor | None = None

    @classmethod
    def schedule(cls, model: DiffusionModel, config: FineTuneConfig) -> Schedule:
        """Return what grids are sampled by: any scheduler. Raises InputError for distilled models."""
        check_not_distilled(model, otherwise="")
        return sampling_schedule(model, config)

    # --- one update, top to bottom --------------------------------------------------------------

    def update(self, batches: Sequence[Batch], total: float, progress: Progress) -> UpdateSums:
        """Add the gradient of the loss averaged over `total` groups, batch by batch; `Learner.step` takes the step.

        Raises NonFiniteError before a NaN reaches a gradient.
        """
        form = self._by_matching if self.config.preference_form == "matching" else self._by_dpo
        return _added([form(batch, total, progress) for batch in batches])

    def _by_matching(self, batch: Batch, total: float, progress: Progress) -> UpdateSums:
        """Learn from each picture by itself: towards the better, away from the worse, not far from the base."""
        worker, done, errors = self.worker, [], []
        chunks = list(batch.chunks(worker.train_batch_size))
        # 1. what the untrained model says; first, while no graph takes memory
        with worker.learner.as_base() as base:
            base_outputs = self._outputs(chunks, progress, base)
        for chunk, e_ref in zip(chunks, base_outputs, strict=True):
            # 2. what the network says now
            e = self._output(chunk)
            # 3. the loss of each picture; a mask weighs all three alike
            e, e_ref, target = _seen(chunk.mask, e, e_ref, chunk.target)
            loss = matching_loss(e, e_ref, None, target, chunk.advantage, proximal=self.config.proximal_weight)
            check_finite(loss)
            # 4. the gradient
            weighted = loss * chunk.weight[chunk.group]
            (weighted.sum() / total * worker.gradient_scale).backward()
            progress.advance(len(chunk.prompts))
            done.append(loss.detach())
            errors.append(denoising_error(e.detach(), target) - denoising_error(e_ref, target))
        moved = torch.cat(errors)
        groups = moved.new_zeros(len(batch.weight))
        loss, told = (groups.index_add(0, batch.group, x) for x in (torch.cat(done), batch.advantage * moved))
        return _sums(loss, -told, moved, batch)

    def _by_dpo(self, batch: Batch, total: float, progress: Progress) -> UpdateSums:
        """Learn from how far each group as a whole is told apart."""
        worker = self.worker
        chunks = list(batch.chunks(worker.train_batch_size))
        # 1. how well the untrained model denoises each picture; first, while no graph takes memory
        error_ref = self._base_errors(chunks, progress)
        # 2. how well the network does now; groups that do not fit at once are asked twice, first without a graph
        live = self._error(chunks[0]) if len(chunks) == 1 else None
        error = self._errors(chunks, progress) if live is None else live.detach()
        # 3. the loss of each group, and what it asks of each picture's error
        error.requires_grad_()
        loss, margin = preference_loss(error, error_ref, batch.advantage, batch.group, self.config.beta)
        check_finite(loss)
        (asked,) = torch.autograd.grad((loss * batch.weight).sum() / total, error)
        # 4. the gradient, by the chain rule
        for chunk, part in zip(chunks, asked.split(worker.train_batch_size), strict=True):
            now = self._error(chunk) if live is None else live
            ((part * now).sum() * worker.gradient_scale).backward()
            progress.advance(len(chunk.prompts))
        return _sums(loss.detach(), margin, error.detach() - error_ref, batch)

    # --- an epoch -------------------------------------------------------------------------------

    def collect(self, epoch: Epoch, progress: Progress) -> Chosen:
        """Choose an epoch's groups; encode all pictures before the first."""
        self.encode(progress)
        count = self.config.samples_per_epoch // self.config.group_size
        places = epoch_places(len(self.known), count, self.config.seed, epoch.number)
        return Chosen(None, [self.known[i] for i in places])

    def learn(self, epoch: Epoch, experience: Chosen, progress: Progress) -> Mapping[str, float]:
        """Make all updates of an epoch. Timesteps, noise and updates are the same on every process."""
        worker, config, learner = self.worker, self.config, self.worker.learner
        slots = len(experience.groups) * config.group_size
        draws = draw_timesteps(slots, len(self.levels.alphas), config, epoch.number)
        updates = [_units(pairs, config.group_size) for pairs in draws.updates]
        rows = epoch.local_rows
        mine = [[u for u in units if rows.start <= u[0] * config.group_size < rows.stop] for units in updates]
        learned = sum(len(experience.groups[g].pictures) for units in mine for g, _ in units)
        progress.phase("learning", learned)
        parts, norms, rate = [], [], learner.learning_rate
        with worker.learning():
            for units, local in zip(updates, mine, strict=True):
                batches = self._batches(local, experience.groups, draws.timesteps, epoch.number)
                parts.append(self.update(batches, len(units), progress))
                rate = learner.learning_rate
                norms += worker.step()
        sums = torch.tensor(_added(parts), dtype=torch.float64)
        worker.processes.all_reduce_sum([sums])
        return _figures(sums, norms, rate)

    def sample(
        self, request: Request, progress: Progress, *, base: bool = False, averaged: bool = False
    ) -> torch.Tensor:
        """Return pictures (B, H, W, 3) by the training sampler."""
        return self.worker.decode(self.worker.sample_latents(request, progress, base=base, averaged=averaged), progress)

    def margins(self, groups: Sequence[Ranked], progress: Progress) -> torch.Tensor:
        """Return how far the model as tuned so far tells groups apart as people did, (G,); above 0: as they did.

        The average over timesteps and noises that are the same in every epoch, the implicit reward of the better
        pictures over the worse. Nothing is learned from it.
        """
        worker, size = self.worker, self.config.group_size
        self.encode(progress)
        place = torch.arange(_ASKED_AT) + 0.5
        count = len(self.levels.alphas)
        timesteps = (count * place / _ASKED_AT).long().clamp(0, count - 1).expand(len(groups) * size, -1)
        found = torch.zeros(len(groups))
        units = [(g, k) for g in range(len(groups)) for k in range(_ASKED_AT)]
        progress.phase("asking", _ASKED_AT * sum(len(group.pictures) for group in groups))
        unets = [worker.learner.policy.unet, worker.model.unet]
        with torch.no_grad(), worker.place(unets, worker.learning_bytes), worker.learner.active(averaged=True):
            for first in range(0, len(units), _ASKED_AT):
                [batch] = self._batches(units[first : first + _ASKED_AT], groups, timesteps, -1, whole=True)
                chunks = list(batch.chunks(self.worker.train_batch_size))
                errors = self._errors(chunks, progress), self._base_errors(chunks, progress)
                margin = preference_loss(*errors, batch.advantage, batch.group, self.config.beta).margin
                found[units[first][0]] = margin.mean().cpu()
                progress.advance(len(batch.prompts))
        return found

    # --- pictures -------------------------------------------------------------------------------

    def encode(self, progress: Progress) -> None:
        """Encode all pictures once, one by one, so that each is the same whatever stands beside it."""
        if self._latents is not None:
            return
        worker, pictures = self.worker, self.preferences.pictures
        height, width = worker.size
        wanted = sorted({i for group in self.preferences.groups for i in group.pictures})
        progress.phase("encoding", len(wanted))
        shape = (worker.model.channels, height // worker.model.downscale, width // worker.model.downscale)
        latents = torch.zeros(len(pictures), *shape)
        vae = [worker.model.vae] if worker.model.vae else []
        with worker.place(vae, vae_bytes(worker.model, height, width, 1)):
            for i in wanted:
                picture = fitted(picture_of(pictures, i), width, height, "crop")
                latents[i] = encode_images(worker.model, picture[None])[0]
                progress.advance()
        if self.preferences.masks is not None:
            masks = self.preferences.masks.detach().float().cpu()[:, None]
            self._masks = _small_masks(masks, (height, width), shape[1:])
        self._latents = latents

    def _batches(
        self,
        units: Sequence[tuple[int, int]],
        groups: Sequence[Ranked],
        timesteps: torch.Tensor,
        epoch: int,
        *,
        whole: bool = False,
    ) -> list[Batch]:
        """Noise the pictures of (group, k) units, as many whole groups at once as fit; `whole` takes all at once."""
        batches: list[list[tuple[int, int]]] = []
        size, filled = self.worker.train_batch_size, 0
        for unit in units:
            rows = len(groups[unit[0]].pictures)
            if not batches or (filled + rows > size and not whole):
                batches.append([])
                filled = 0
            batches[-1].append(unit)
            filled += rows
        return [self._batch(some, groups, timesteps, epoch) for some in batches]

    def _batch(
        self, units: Sequence[tuple[int, int]], groups: Sequence[Ranked], timesteps: torch.Tensor, epoch: int
    ) -> Batch:
        assert self._latents is not None
        device, size = self.worker.device, self.config.group_size
        rows = [(n, g, k, j) for n, (g, k) in enumerate(units) for j in range(len(groups[g].pictures))]
        slots = Pairs(
            *(torch.tensor(column) for column in zip(*((g * size + j, k) for _, g, k, j in rows), strict=True))
        )
        x0 = self._latents[[groups[g].pictures[j] for _, g, _, j in rows]].to(device)
        noise = draw_noise(slots, x0.shape[1:], self.config, epoch, device)
        chosen = timesteps[slots.picture, slots.step]
        x_t, target = noised(x0, noise, self.levels.alphas[chosen].to(device), self.levels.prediction_type)
        return Batch(
            x_t,
            target,
            self._mask([groups[g] for _, g, _, _ in rows], device),
            chosen.to(device),
            torch.tensor([groups[g].advantages[j] for _, g, _, j in rows], device=device),
            torch.tensor([n for n, _, _, _ in rows], device=device),
            torch.tensor([groups[g].weight for g, _ in units], device=device),
            [groups[g].prompt for _, g, _, _ in rows],
        )

    def _mask(self, groups: Sequence[Ranked], device: torch.device) -> torch.Tensor | None:
        if self._masks is None or all(group.mask is None for group in groups):
            return None
        one = torch.ones_like(self._masks[0])
        return torch.stack([one if group.mask is None else self._masks[group.mask] for group in groups]).to(device)

    # --- what the network says ------------------------------------------------------------------

    def _output(self, batch: Batch, model: DiffusionModel | None = None) -> torch.Tensor:
        """Return what the network says of each row, (N, C, h, w)."""
        network = self.worker.network(model or self.worker.learner.policy, batch.prompts)
        return network.predict(batch.x_t, batch.timesteps)

    def _error(self, batch: Batch, model: DiffusionModel | None = None) -> torch.Tensor:
        """Return |e - eps|^2 of each row, (N,)."""
        return denoising_error(self._output(batch, model), batch.target, batch.mask)

    @torch.no_grad()
    def _outputs(
        self, chunks: Sequence[Batch], progress: Progress, model: DiffusionModel | None = None
    ) -> list[torch.Tensor]:
        found = []
        for chunk in chunks:
            progress.check_cancelled()
            found.append(self._output(chunk, model))
        return found

    def _errors(self, chunks: Sequence[Batch], progress: Progress, model: DiffusionModel | None = None) -> torch.Tensor:
        outputs = zip(chunks, self._outputs(chunks, progress, model), strict=True)
        return torch.cat([denoising_error(output, chunk.target, chunk.mask) for chunk, output in outputs])

    def _base_errors(self, chunks: Sequence[Batch], progress: Progress) -> torch.Tensor:
        with self.worker.learner.as_base() as base:
            return self._errors(chunks, progress, base)


def check_group_sizes(preferences: Preferences, config: PreferenceConfig) -> None:
    """Raise InputError where a group has more pictures than are compared at once."""
    largest = max(len(group.pictures) for group in preferences.groups)
    if largest > config.group_size:
        raise InputError("group_size", config.group_size, f"There are groups of {largest} pictures: set it to that.")


def _units(pairs: Pairs, size: int) -> list[tuple[int, int]]:
    """Return (group, k) of slots that `draw_timesteps` dealt to an update, whole groups side by side."""
    return list(zip((pairs.picture[::size] // size).tolist(), pairs.step[::size].tolist(), strict=True))


def _small_masks(masks: torch.Tensor, size: tuple[int, int], latent: Sequence[int]) -> torch.Tensor:
    """Bring masks (M, 1, H, W) to the latents' size, cut in the middle as pictures are, averaged. Raises InputError."""
    (height, width), (rows, columns) = size, masks.shape[2:]
    kept = min(rows, round(columns * height / width)), min(columns, round(rows * width / height))
    top, left = (rows - kept[0]) // 2, (columns - kept[1]) // 2
    small = F.adaptive_avg_pool2d(masks[:, :, top : top + kept[0], left : left + kept[1]], tuple(latent))
    empty = (small.flatten(1).amax(dim=1) <= 0).nonzero().flatten().tolist()
    if empty:
        raise InputError("mask", f"mask {empty[0] + 1}", "Nothing of it is left at the size that is learned at.")
    return small


def _seen(mask: torch.Tensor | None, *outputs: torch.Tensor) -> list[torch.Tensor]:
    """Weigh outputs (N, C, h, w) so that means of their products are weighed by a mask, as `denoising_error` is."""
    if mask is None:
        return list(outputs)
    root = (mask / mask.mean(dim=(1, 2, 3), keepdim=True)).sqrt()
    return [output * root for output in outputs]


def _sums(loss: torch.Tensor, margin: torch.Tensor, moved: torch.Tensor, batch: Batch) -> UpdateSums:
    better = batch.advantage > 0
    of_group = torch.zeros_like(loss).index_add(0, batch.group, better.to(loss.dtype))
    share = better / of_group[batch.group]  # of a group's better pictures, so that groups count alike
    return UpdateSums(
        pairs=len(loss),
        loss=float(loss.sum()),
        accuracy=float((margin > 0).sum()) + 0.5 * float((margin == 0).sum()),
        margin=float(margin.sum()),
        drift=float((moved * share).sum()),
    )


def _added(parts: Sequence[UpdateSums]) -> UpdateSums:
    return UpdateSums._make(map(sum, zip(*parts, strict=True))) if parts else UpdateSums()


def _figures(sums: torch.Tensor, norms: list[float], rate: float) -> dict[str, float]:
    averages = (sums[1:] / max(float(sums[0]), 1.0)).tolist()
    return {
        **dict(zip(UpdateSums._fields[1:], averages, strict=True)),
        "grad_norm": sum(norms) / max(len(norms), 1),
        "learning_rate": rate,
        "updates": len(norms),
        "pairs": int(sums[0]),
    }

"""Sampling and scoring a grid: every picture once, those that are there already not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...core.errors import InputError, NonFiniteError, TastemakerError
from ...core.progress import Place, Progress, Within, stay
from ...images.convert import in_threads
from ...images.pictures import PictureFile
from ...loaders.lora.apply import at_strength
from ...loaders.model import DiffusionModel
from ...ranking.cache import ScoreCache
from ...ranking.scoring import score_pictures
from ...ranking.table import ScoreTable
from ...rewards.reward import Reward
from ...sampling.inputs import picture_size, prompts_each
from ...sampling.loop import sample, schedule_of, stages_of, with_own_scheduler
from ...sampling.settings import SampleOptions, SampleSettings
from .cells import CellCache, CellPictures, cell_key
from .means import Means, means
from .plan import Plan, Shot, units

AT_ONCE = 8  # pictures sampled before they are kept: what a cancel loses at most
_READ_AT_ONCE = 32  # kept pictures read between two looks for a cancel

OnPicture = Callable[[int, PictureFile], None]


@dataclass(frozen=True, eq=False)
class Grid:
    """A finished grid.

    Attributes:
        plan: its axes and pictures.
        table: the pictures with their scores, in the plan's order.
        means: which setting is best.
        sampled: how many pictures were made; the others were there.
        note: what the cache of scores had to say.
    """

    plan: Plan
    table: ScoreTable
    means: Means
    sampled: int
    note: str = ""


def run_grid(
    plan: Plan,
    models: Sequence[DiffusionModel],
    reward: Reward,
    *,
    cells: CellCache,
    negative_prompt: str = "",
    options: SampleOptions | None = None,
    scores: ScoreCache | None = None,
    place: Place = stay,
    progress: Progress | None = None,
    on_picture: OnPicture | None = None,
) -> Grid:
    """Sample what is missing of a grid, score it, and compare.

    Everything is checked before the first picture is made. What was sampled is kept at once, so that a run that is
    stopped goes on where it was.

    Args:
        models: what the plan's model places stand for; none is changed.
        cells: where pictures are kept.
        scores: where scores are kept.
        progress: counts network evaluations, an image each, then pictures scored; what it raises stops the run.
        on_picture: told of each picture as soon as it is there, by its place in the plan.

    Raises:
        InputError: a setting that cannot be used, by the name of the widget it came from.
        NonFiniteError: a network or the reward produced NaN or infinity.
        OutOfMemoryError: not even one image fits.
        TastemakerError: the pictures cannot be kept.
    """
    progress, tell = progress or Progress(), on_picture or (lambda i, file: None)
    try:
        made = _Making(plan, models, negative_prompt, options or SampleOptions())
    except InputError as e:
        raise plan.named(e) from e
    places: dict[str, list[int]] = {}  # the same model twice, a prompt twice: one picture in several places
    for i, key in enumerate(made.keys):
        places.setdefault(key, []).append(i)
    files: dict[str, PictureFile] = {}

    def there(key: str, file: PictureFile) -> None:
        files[key] = file
        for i in places[key]:
            tell(i, file)

    names = list(places)
    for k in range(0, len(names), _READ_AT_ONCE):
        progress.check_cancelled()
        some = names[k : k + _READ_AT_ONCE]
        for key, found in zip(some, in_threads(cells.find, some), strict=True):
            if found is not None:
                there(key, found)
    missing = [places[key][0] for key in names if key not in files]
    progress.phase("sampling", sum(made.evaluations[i] for i in missing))
    for unit in units(plan.shots, missing, made.options.at_once or AT_ONCE):
        images = made.sample(unit, place, Within(progress))
        stored = [cells.store(made.keys[i], image, made.texts(i)) for i, image in zip(unit, images, strict=True)]
        for i, file in zip(unit, stored, strict=True):
            there(made.keys[i], file)
    ordered = tuple(files[key] for key in made.keys)
    cells.trim({file.name for file in ordered})
    labels = tuple(made.label(i) for i in range(len(ordered)))
    pictures = CellPictures(cells.folder, ordered, labels=labels)
    table, note = _scored(plan, pictures, reward, scores, place, progress)
    return Grid(plan, table, means(plan, table.scores[table.main]), len(missing), note)


def _scored(
    plan: Plan, pictures: CellPictures, reward: Reward, scores: ScoreCache | None, place: Place, progress: Progress
) -> tuple[ScoreTable, str]:
    prompts, seeds = [shot.prompt for shot in plan.shots], [shot.seed for shot in plan.shots]
    scored = score_pictures(pictures, prompts, reward, seeds=seeds, cache=scores, place=place, progress=progress)
    if scored.broken:
        name, why = scored.broken[0]
        raise TastemakerError(f"The picture of {name} {why} while it was scored. Run again: it is sampled anew.")
    for name, column in scored.table.scores.items():
        odd = torch.nonzero(~torch.isfinite(column)).flatten().tolist()
        if odd:
            raise NonFiniteError(
                f"{name} gave {column[odd[0]].item()} for {pictures.name(odd[0])}: pick another reward."
            )
    return scored.table, scored.note


class _Making:
    """What each picture of a plan is made with, checked before any of them is.

    Attributes:
        keys: what each picture is kept by.
        evaluations: of the network for each, two with guidance counted as one.
    """

    def __init__(
        self, plan: Plan, models: Sequence[DiffusionModel], negative_prompt: str, options: SampleOptions
    ) -> None:
        self.plan, self.options, self._negative = plan, options, negative_prompt
        self._handles: dict[tuple[int, float | None], DiffusionModel] = {}
        self._ready: dict[tuple[int, SampleSettings], tuple[SampleSettings, tuple[int, int], int]] = {}
        self.keys: list[str] = []
        self.evaluations: list[int] = []
        for place in sorted({shot.model for shot in plan.shots}):
            texts = sorted({shot.prompt for shot in plan.shots if shot.model == place})
            prompts_each(models[place], texts, negative_prompt, len(texts))
        for shot in plan.shots:
            model = self._handle(models, shot)
            settings, size, evaluations = self._settings(model, shot)
            self.keys.append(cell_key(model, settings, size, shot.prompt, negative_prompt, shot.seed, options))
            self.evaluations.append(evaluations)

    def _handle(self, models: Sequence[DiffusionModel], shot: Shot) -> DiffusionModel:
        which = shot.model, shot.strength
        if which not in self._handles:
            model = models[shot.model]
            self._handles[which] = model if shot.strength is None else at_strength(model, shot.strength)
        return self._handles[which]

    def _settings(self, model: DiffusionModel, shot: Shot) -> tuple[SampleSettings, tuple[int, int], int]:
        """Return a picture's settings with the scheduler by its name, its size, and how often the network runs."""
        which = shot.model, shot.settings
        if which not in self._ready:
            settings = with_own_scheduler(model, shot.settings)
            stages = stages_of(model, None, self.options)
            count = sum(len(schedule_of(stage, settings).timesteps) for stage in stages)
            self._ready[which] = settings, picture_size(model, settings, None, None), count
        return self._ready[which]

    def sample(self, unit: Sequence[int], place: Place, progress: Progress) -> torch.Tensor:
        """Sample pictures of the same model and settings: (B, H, W, 3) in [0, 1]."""
        shots = [self.plan.shots[i] for i in unit]
        model = self._handles[shots[0].model, shots[0].strength]
        samples = sample(
            model,
            [shot.prompt for shot in shots],
            self._settings(model, shots[0])[0],
            negative_prompt=self._negative,
            seeds=[shot.seed for shot in shots],
            options=replace(self.options, at_once=0),
            place=place,
            progress=progress,
        )
        return samples.images

    def label(self, i: int) -> str:
        """Say which cell a picture is of; with one cell alone, its model."""
        return self.plan.words(self.plan.shots[i].cell) or self._handles[self.plan.shots[i][1:3]].name

    def texts(self, i: int) -> Mapping[str, str]:
        """Return the `parameters` that other programs write beside a picture: prompt, then settings in a line."""
        shot = self.plan.shots[i]
        model = self._handles[shot.model, shot.strength]
        settings, (height, width), _ = self._settings(model, shot)
        lines = [shot.prompt, f"Negative prompt: {self._negative}" if self._negative else ""]
        facts: dict[str, Any] = {
            "Steps": settings.steps,
            "Sampler": settings.scheduler,
            "CFG scale": f"{settings.guidance_scale:g}",
            "Seed": shot.seed,
            "Size": f"{width}x{height}",
            "Model": model.name,
        }
        if settings.eta:
            facts["Eta"] = f"{settings.eta:g}"
        if shot.strength is not None:
            facts["LoRA strength"] = f"{shot.strength:g}"
        lines.append(", ".join(f"{name}: {value}" for name, value in facts.items()))
        return {"parameters": "\n".join(line for line in lines if line)}

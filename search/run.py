"""The door: prompts, a reward and a budget to the best pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..core.errors import InputError
from ..core.progress import Place, Progress, stay
from ..core.texts import check_prompts
from ..loaders.model import DiffusionModel
from ..rewards.reward import Reward, check_not_empty
from ..sampling.inputs import check_room, picture_size, prompts_each
from ..sampling.loop import with_own_scheduler
from ..sampling.settings import SampleOptions, SampleSettings
from .comparison import EqualCost, equal_cost
from .found import Found, in_words
from .meter import Cost, Meter
from .methods import FUNCTIONS
from .methods.best_of_n import unrelated
from .sampler import Sampler
from .settings import BEST_OF_N, SearchSettings
from .task import Finished, Look, Task

OnLook = Callable[[int, Look], None]  # (place of the prompt, what is seen of it)


def search(
    model: DiffusionModel,
    prompts: str | Sequence[str],
    reward: Reward,
    settings: SearchSettings | None = None,
    *,
    negative_prompt: str = "",
    sampling: SampleSettings | None = None,
    options: SampleOptions | None = None,
    progress: Progress | None = None,
    place: Place = stay,
    on_look: OnLook | None = None,
    **fields: Any,
) -> Found:
    """Spend a budget of network evaluations on each prompt and return its best pictures.

    Prompts are searched one after the other, each from the same seeds, so one alone gives the same bits.

    Args:
        model: from `load_diffusion_model`; it is not changed.
        prompts: one text, or several; empty for unconditional models.
        reward: any; no gradient is needed.
        settings: method, budget and the rest.
        negative_prompt: what to steer away from.
        sampling: scheduler, steps, guidance_scale, eta, height, width of a finished picture.
        options: settings of sampling that are rarely changed; the refiner's are not used.
        progress: counts network evaluations; what it raises stops the search within a step.
        place: makes modules ready to compute.
        on_look: is shown the pictures while they are made.
        fields: fields of `settings` by name, over what it says.

    Raises:
        InputError: an argument that cannot be used, by name; a budget that pays no whole picture.
        NonFiniteError: NaN or infinity from a network or from the reward.
        OutOfMemoryError: not even one picture fits.
    """
    settings = replace(settings or SearchSettings(), **fields)
    sampling = with_own_scheduler(model, sampling or SampleSettings())
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    check_prompts(texts)
    prompts_each(model, texts, negative_prompt, len(texts))
    if reward.needs_prompt:
        check_not_empty(reward.name, texts)
    if reward.relative and settings.method != BEST_OF_N:
        advice = f"Its scores depend on what it is scored with, so {settings.method} cannot compare them. Pick "
        raise InputError("reward", reward.name, f"{advice}best_of_n, or a reward that is not normalised by the batch.")
    size = picture_size(model, sampling, None, None)
    options, progress = options or SampleOptions(), progress or Progress()
    tasks = [
        _task(model, text, negative_prompt, reward, settings, sampling, options, size, progress, place, on_look, i)
        for i, text in enumerate(texts)
    ]
    kept = settings.keep * len(texts)
    check_room(kept + tasks[0].pictures(), size)
    runs = 2 if settings.compare == "on" and settings.method != BEST_OF_N else 1
    progress.phase("searching", len(texts) * settings.budget * runs)
    found: list[Finished] = []
    compared: list[EqualCost] = []
    cost, notes = Cost(), _remarks(reward, texts)
    for task in tasks:
        done, spent, beside = _searched(task, compare=runs > 1)
        order = done.columns[reward.name].argsort(descending=True, stable=True)[: settings.keep].tolist()
        found.append(_rows(done, order))
        cost, compared = cost + spent, [*compared, beside]
        notes += [f"{task.sampler.prompt}: {done.note}"] if done.note else []
    together = found[0]
    for one in found[1:]:
        together = together + one
    return Found(
        together.images,
        together.latents,
        together.columns,
        reward.name,
        tuple(text for text, one in zip(texts, found, strict=True) for _ in one.recipes),
        together.recipes,
        common(model, settings, sampling, options, negative_prompt, size),
        cost,
        tuple(compared),
        in_words(settings.method, cost, tuple(compared), notes),
    )


def _task(
    model: DiffusionModel,
    text: str,
    negative_prompt: str,
    reward: Reward,
    settings: SearchSettings,
    sampling: SampleSettings,
    options: SampleOptions,
    size: tuple[int, int],
    progress: Progress,
    place: Place,
    on_look: OnLook | None,
    number: int,
) -> Task:
    """Return one prompt's search, its meter at 0; its clock starts anew when it is its turn."""
    meter = _meter(settings)
    sampler = Sampler(model, text, negative_prompt, sampling, options, size, meter, progress, place)
    return Task(sampler, reward, settings, (lambda look: on_look(number, look)) if on_look else (lambda look: None))


def _meter(settings: SearchSettings) -> Meter:
    return Meter(settings.budget, settings.max_decodes, settings.max_scorings, settings.max_seconds)


def _searched(task: Task, *, compare: bool) -> tuple[Finished, Cost, EqualCost]:
    """Search one prompt; return what was finished, what it cost, and best-of-N for as much."""
    settings, sampler = task.settings, task.sampler
    sampler.meter = _meter(settings)
    done = FUNCTIONS[settings.method](task)
    cost = sampler.meter.cost
    sampler.progress.advance(max(0, settings.budget - cost.evaluations))  # what no whole picture could be had for
    scores = done.columns[task.reward.name]
    pictures, measured = max(1, round(cost.evaluations / task.steps)), None
    if compare:
        sampler.meter = Meter(settings.budget)
        measured = unrelated(replace(task, on_look=lambda look: None), pictures).columns[task.reward.name]
        sampler.progress.advance(max(0, settings.budget - sampler.meter.cost.evaluations))
    return done, cost, equal_cost(scores, done.independent, pictures, measured)


def _rows(done: Finished, index: list[int]) -> Finished:
    return done._replace(
        latents=done.latents[index],
        images=done.images[index],
        columns={name: column[index] for name, column in done.columns.items()},
        recipes=tuple(done.recipes[i] for i in index),
    )


def _remarks(reward: Reward, texts: Sequence[str]) -> list[str]:
    return [f"{name}: {line}" for name, lines in reward.overflows(texts).items() for line in lines]


def common(
    model: DiffusionModel,
    settings: SearchSettings,
    sampling: SampleSettings,
    options: SampleOptions,
    negative_prompt: str,
    size: tuple[int, int],
) -> Mapping[str, Any]:
    """Return what all pictures of a search are made with, beside their recipes."""
    return {
        "by": "search",
        "method": settings.method,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "negative_prompt": negative_prompt,
        "sampling": {**asdict(sampling), "height": size[0], "width": size[1]},
        "options": asdict(options),
    }

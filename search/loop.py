"""`search`, the public door: the best pictures a budget pays for, prompt by prompt; and `again`, one made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import torch

from ..core.errors import InputError
from ..core.progress import Place, Progress, stay
from ..core.settings import MAX_SEED
from ..loaders.model import DiffusionModel
from ..rewards.reward import Reward
from ..sampling.decode import decode
from ..sampling.guidance import is_guided
from ..sampling.inputs import picture_size, prompts_each
from ..sampling.loop import with_own_scheduler
from ..sampling.prompts import encode_with_negative, shared_cache
from ..sampling.settings import SampleOptions, SampleSettings
from ..sampling.steps import ImageNoise
from .engine import Engine
from .found import Found, Outcome, Rival
from .meter import Meter
from .methods import METHOD_FUNCTIONS, Leading, Look, Whole, best_of_n, leading_lead
from .noises import Recipe
from .settings import SearchSettings

SEEDS_EACH = 2**20  # of a prompt: the next one's begin so much higher
VERSION = 1

Watch = Callable[[int, Look], None]  # number of the prompt, what is seen of it


def search(
    model: DiffusionModel,
    prompts: str | Sequence[str],
    reward: Reward,
    settings: SearchSettings | None = None,
    *,
    sampling: SampleSettings | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    options: SampleOptions | None = None,
    place: Place = stay,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Found:
    """Search for pictures that a reward likes, each prompt within its budget.

    Args:
        model: from `load_diffusion_model`; it is not changed.
        prompts: one text or several; an unconditional model's is what the reward compares with, if anything.
        reward: any; no gradient is needed.
        settings: method and budget.
        sampling: scheduler, steps, guidance_scale, eta, height and width; `denoise` is not used.
        negative_prompt: what guidance leads away from.
        seed: prompt i takes seeds from `seed + i * SEEDS_EACH` on; with "best of n" they are those of `sample`.
        options: as `sample` takes them; no refiner.
        place: puts modules where they compute.
        progress: counts network evaluations; what it raises stops the run.
        watch: sees particles as they are looked at.

    Raises:
        InputError: an argument that cannot be used, by name.
        NonFiniteError, OutOfMemoryError: as `sample` and the reward.
    """
    settings, options, progress = settings or SearchSettings(), options or SampleOptions(), progress or Progress()
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    _check(texts, seed)
    sampling = with_own_scheduler(model, sampling or SampleSettings())
    if sampling.denoise != 1.0:
        raise InputError("denoise", sampling.denoise, "A search starts from noise alone. Set denoise to 1.")
    read = prompts_each(model, texts if model.conditional else "", negative_prompt, len(texts))
    size = picture_size(model, sampling, None, None)
    guided = negative_prompt if is_guided(model, sampling.guidance_scale) else None
    encoded, negative = encode_with_negative(shared_cache(), model, read, guided, place)
    measured = settings.compare == "on" and settings.method != "best of n"
    progress.phase("searching", len(texts) * settings.budget * (2 if measured else 1))
    wholes, outcomes = [], []
    for number, text in enumerate(texts):

        def engine(number: int = number, text: str = text) -> Engine:
            meter = Meter(settings.budget, settings.most_decodes, settings.most_seconds)
            return Engine(
                model, reward, text, encoded[number], negative, sampling, options, size, place, progress, meter
            )

        def seen(look: Look, number: int = number) -> None:
            if watch is not None:
                watch(number, look)

        used, begun = engine(), seed + number * SEEDS_EACH
        whole = METHOD_FUNCTIONS[settings.method](used, _seeds(begun), settings, seen)
        whole = _best_first(whole)
        rival = None
        if measured:
            plain = best_of_n(engine(), _seeds(begun), settings, lambda look: None)
            rival = Rival(len(plain.pictures), float(plain.rewards.max()))
        used.meter.spend()
        best = float(whole.rewards[0])
        outcomes.append(Outcome(text, best, len(whole.pictures), used.meter.cost, rival, whole.note))
        wholes.append(whole)
    made = [
        _record(model, sampling, options, negative_prompt, settings, text, whole)
        for text, whole in zip(texts, wholes, strict=True)
    ]
    return Found(
        torch.cat([whole.pictures for whole in wholes]),
        torch.cat([whole.particles.x for whole in wholes]),
        tuple(text for text, whole in zip(texts, wholes, strict=True) for _ in whole.pictures),
        tuple(way.first.seed for whole in wholes for way in whole.particles.made),
        {name: torch.cat([whole.scores[name] for whole in wholes]) for name in wholes[0].scores},
        tuple(record for records in made for record in records),
        tuple(outcomes),
        settings.method,
    )


def _check(texts: Sequence[str], seed: int) -> None:
    if not texts:
        raise InputError("prompts", "none", "Give at least one prompt, or an empty one for an unconditional model.")
    last = MAX_SEED - len(texts) * SEEDS_EACH
    if type(seed) is not int or not 0 <= seed <= last:
        raise InputError("seed", seed, f"Give a whole number from 0 to {last:,}.")


def _seeds(first: int) -> Iterator[int]:
    return iter(range(first, first + SEEDS_EACH))


def _best_first(whole: Whole) -> Whole:
    order = torch.argsort(whole.rewards, descending=True, stable=True)
    rows = order.tolist()
    scores = {name: column[order] for name, column in whole.scores.items()}
    return whole._replace(particles=whole.particles.kept(rows), pictures=whole.pictures[order], scores=scores)


# --- made again ---------------------------------------------------------------------------------


def _record(
    model: DiffusionModel,
    sampling: SampleSettings,
    options: SampleOptions,
    negative_prompt: str,
    settings: SearchSettings,
    prompt: str,
    whole: Whole,
) -> list[dict[str, Any]]:
    """Return what each picture can be made from again, as JSON holds it."""
    shared = {
        "tastemaker_search": VERSION,
        "method": settings.method,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "sampling": asdict(sampling),
        "options": asdict(options),
        "leading": whole.leading._asdict() if whole.leading is not None else None,
    }
    return [
        {
            **shared,
            "seed": way.first.seed,
            "changes": [list(c) for c in way.first.changes],
            "noise": [list(n) for n in way.noise],
        }
        for way in whole.particles.made
    ]


def again(
    model: DiffusionModel, made: Mapping[str, Any], *, place: Place = stay, progress: Progress | None = None
) -> torch.Tensor:
    """Make one picture of a search again from its record alone: (1, H, W, 3).

    Args:
        model: the one that made it.
        made: the record, as it stands under `made` in a saved picture's text.

    Raises InputError for what is no such record, and for another model.
    """
    progress = progress or Progress()
    sampling, options, way, leading = _read(made)
    if made.get("fingerprint") != model.fingerprint:
        raise InputError(
            "model", model.name, f"The picture was made with {str(made.get('model'))[:80]}. Load that one."
        )
    prompt, negative_prompt = made["prompt"], made["negative_prompt"]
    read = prompts_each(model, prompt if model.conditional else "", negative_prompt, 1)
    size = picture_size(model, sampling, None, None)
    guided = negative_prompt if is_guided(model, sampling.guidance_scale) else None
    encoded, negative = encode_with_negative(shared_cache(), model, read, guided, place)
    engine = Engine(
        model, _no_reward(), prompt, encoded[0], negative, sampling, options, size, place, progress, Meter(2**62)
    )  # fmt: skip
    lead = None
    if leading is not None:
        quick = engine.schedule(leading.steps)
        drafts = engine.advance(
            engine.begin([Recipe(seed) for seed in leading.seeds], quick), len(quick.timesteps), steps=leading.steps
        )
        lead = leading_lead(drafts.x, leading)
    schedule = engine.schedule()
    total, first = len(schedule.timesteps), way[0][1]
    particles = engine.begin([Recipe(made["seed"], tuple((int(s), float(r)) for s, r in made["changes"]))], schedule)
    for place_in_way, (step, seed) in enumerate(way):
        stop = way[place_in_way + 1][0] if place_in_way + 1 < len(way) else total
        if seed != first or step:
            particles = replace(particles, seeds=(seed,), states=(_stream(engine, seed, step),))
        if stop > step:
            particles = engine.advance(particles, stop, lead=lead)
    with place([model.vae] if model.vae else []):
        return decode(model, particles.x, tiled=options.vae_tiling == "on")


def _stream(engine: Engine, seed: int, step: int) -> torch.Tensor:
    """Return where a seed's noise stream stands after `step` steps: it draws once at the start and in noisy steps."""
    schedule, noise = engine.schedule(), ImageNoise([seed], engine.shape)
    x = noise.draw(torch.device("cpu"))
    for index in range(step):  # a step draws or not whatever the sample is
        schedule.step(index, x, torch.zeros_like(x), noise)
    return noise.states()[0]


def _read(made: Mapping[str, Any]) -> tuple[SampleSettings, SampleOptions, list[tuple[int, int]], Leading | None]:
    """Read a record, which may come from anybody. Raises InputError."""
    try:
        if made["tastemaker_search"] != VERSION:
            raise ValueError("another version")
        sampling = SampleSettings(**_known(SampleSettings, made["sampling"]))
        options = SampleOptions(**_known(SampleOptions, made["options"]))
        way = [(int(step), int(seed)) for step, seed in made["noise"]]
        if not all(isinstance(made[name], str) for name in ("prompt", "negative_prompt", "model")):
            raise ValueError("a text is none")
        if type(made["seed"]) is not int or not way or way[0] != (0, made["seed"]) or sorted(way) != way:
            raise ValueError("its noise makes no sense")
        seeds = [seed for _, seed in way] + [int(seed) for seed, _ in made["changes"]]
        if not all(0 <= seed <= MAX_SEED for seed in seeds) or len(seeds) > 10_000:
            raise ValueError("a seed makes no sense")
        led = made["leading"]
        leading = None
        if led is not None:
            numbers = tuple(map(float, led["rewards"]))
            leading = Leading(
                tuple(map(int, led["seeds"])),
                int(led["steps"]),
                numbers,
                float(led["temperature"]),
                float(led["scale"]),
            )
            if len(leading.seeds) != len(numbers) or not 2 <= len(numbers) <= 10_000:
                raise ValueError("its drafts make no sense")
        return sampling, options, way, leading
    except (KeyError, TypeError, ValueError) as e:
        raise InputError("made", str(e)[:100], "This is no record of a picture that a search made.") from e


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {spec.name for spec in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _no_reward() -> Reward:
    from ..rewards import custom

    return custom("none", lambda images, prompts: torch.zeros(len(images)))

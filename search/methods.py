"""The methods of search, one function each, for one prompt. All of them spend network evaluations; the meter counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch

from ..core.errors import InputError
from ..sampling.schedules import VariancePreserving
from .drafts import guide, led, softened
from .engine import Engine, Particles, check_draws_noise, check_steps_alone
from .noises import Recipe
from .particles import Weighed, adapted, in_place, needs_resampling, systematic
from .settings import SearchSettings

_CHUNK = 4  # whole pictures between two looks at a limit of time or decodes


class Look(NamedTuple):
    """Particles as they are looked at, for whoever watches.

    Attributes:
        step: how many steps are done, of `steps`.
        pictures: (P, H, W, 3), predicted or finished.
        rewards: (P,).
        parents: of each, its place at the look before.
    """

    step: int
    steps: int
    pictures: torch.Tensor
    rewards: torch.Tensor
    parents: tuple[int, ...]


Watch = Callable[[Look], None]


class Leading(NamedTuple):
    """What whole pictures were led by, so that they can be made again: the drafts' seeds, steps and rewards."""

    seeds: tuple[int, ...]
    steps: int
    rewards: tuple[float, ...]
    temperature: float
    scale: float


class Whole(NamedTuple):
    """Finished pictures.

    Attributes:
        particles: (P), done.
        pictures: (P, H, W, 3).
        scores: column -> (P,), the reward's own first.
        leading: see `Leading`; None without.
        note: what there is to say.
    """

    particles: Particles
    pictures: torch.Tensor
    scores: dict[str, torch.Tensor]
    leading: Leading | None = None
    note: str = ""

    @property
    def rewards(self) -> torch.Tensor:
        """The reward's own column."""
        return next(iter(self.scores.values()))


def best_of_n(engine: Engine, seeds: Iterator[int], settings: SearchSettings, watch: Watch) -> Whole:
    """Make as many independent pictures as the budget pays for."""
    count = settings.pictures(len(engine.schedule().timesteps))
    return _whole(engine, [Recipe(next(seeds)) for _ in range(count)], watch)


def particle_steering(engine: Engine, seeds: Iterator[int], settings: SearchSettings, watch: Watch) -> Whole:
    """Make that many at once, and on the way draw them anew by `particles.Weighed` where few have most of the weight.

    With temperature 0 or one particle it is plain sampling, bit for bit.
    """
    schedule = check_draws_noise(engine, "particle steering")
    total = len(schedule.timesteps)
    count = settings.pictures(total)
    particles = engine.begin([Recipe(next(seeds)) for _ in range(count)], schedule)
    throws = torch.Generator().manual_seed(next(seeds))
    weighed, temperature, parents = Weighed.equal(count), None, tuple(range(count))
    for stop in look_steps(settings, total) if count > 1 and settings.temperature else ():
        if engine.meter.stopped:
            break
        particles = engine.advance(particles, stop)
        pictures = engine.pictures(_clean(particles))
        rewards = next(iter(engine.scores(pictures).values()))
        watch(Look(stop, total, pictures, rewards, parents))
        if temperature is None:
            temperature = adapted(settings.temperature, rewards)
        weighed = weighed.look(settings.potential, rewards, temperature, last=False)
        parents = tuple(range(count))
        if needs_resampling(weighed.pending):
            ancestors = in_place(systematic(weighed.pending, float(torch.rand(1, generator=throws))))
            particles, weighed, parents = (
                particles.drawn(ancestors),
                weighed.drawn(ancestors),
                tuple(ancestors.tolist()),
            )
    return _finish(engine, engine.advance(particles, total), watch, parents)


def drafts(engine: Engine, seeds: Iterator[int], settings: SearchSettings, watch: Watch) -> Whole:
    """Make quick drafts, then whole pictures from the noise of the best, led towards the good ones (`drafts.guide`)."""
    schedule = check_steps_alone(engine, "drafts")
    total, quick = len(schedule.timesteps), engine.schedule(settings.draft_steps)
    each = len(quick.timesteps)
    count = int(settings.budget * settings.draft_share) // each
    whole = (settings.budget - count * each) // total
    if count < 2 or whole < 1:
        advice = (
            f"It pays for {count} drafts of {each} steps and {whole} pictures of {total}. Raise it, or draft_share."
        )
        raise InputError("budget", settings.budget, advice)
    if settings.guide_scale and not isinstance(schedule, VariancePreserving):
        advice = "Leading needs to know the noise in the sample as ddim and ddpm keep it. Pick ddim, or guide_scale 0."
        raise InputError("scheduler", engine.sampling.scheduler, advice)
    recipes = [Recipe(next(seeds)) for _ in range(count)]
    made = engine.advance(engine.begin(recipes, quick), each, steps=settings.draft_steps)
    pictures = engine.pictures(made.x)
    rewards = next(iter(engine.scores(pictures).values()))
    watch(Look(0, total, pictures, rewards, tuple(range(count))))
    order = torch.argsort(rewards, descending=True, stable=True).tolist()
    chosen = [order[i % count] for i in range(whole)]
    begun = engine.begin([recipes[i] for i in chosen], schedule)
    temperature = adapted(settings.temperature, rewards)
    if not settings.guide_scale or not temperature:
        return _finish(engine, engine.advance(begun, total), watch, tuple(chosen))
    leading = Leading(
        tuple(recipe.seed for recipe in recipes), settings.draft_steps, tuple(rewards.tolist()), temperature,
        settings.guide_scale,
    )  # fmt: skip
    lead = leading_lead(made.x, leading)
    finished = engine.advance(begun, total, lead=lead)
    return _finish(engine, finished, watch, tuple(chosen))._replace(leading=leading)


def noise_search(engine: Engine, seeds: Iterator[int], settings: SearchSettings, watch: Watch) -> Whole:
    """Spend half on seeds, the rest on neighbours of the best noise so far, which moves when one is better."""
    each = len(engine.schedule().timesteps)
    count = max(1, settings.pictures(each) // 2)
    found = _whole(engine, [Recipe(next(seeds)) for _ in range(count)], watch)
    while engine.meter.pays(each):
        best = found.particles.made[int(found.rewards.argmax())].first
        tries = min(settings.neighbours, engine.meter.left // each)
        recipes = [best.changed(next(seeds), settings.reach) for _ in range(tries)]
        found = _joined(found, _whole(engine, recipes, watch))
    return found._replace(note=engine.meter.stopped)


def prune(engine: Engine, seeds: Iterator[int], settings: SearchSettings, watch: Watch) -> Whole:
    """Begin with more than the budget pays for, and give up the worse half at each look."""
    schedule = check_steps_alone(engine, "prune")
    total = len(schedule.timesteps)
    settings.pictures(total)
    stops = look_steps(settings, total)
    count = starts(settings.budget, stops, total)
    particles = engine.begin([Recipe(next(seeds)) for _ in range(count)], schedule)
    parents: tuple[int, ...] = tuple(range(count))
    for stop in stops if count > 1 else ():
        if engine.meter.stopped:
            break
        particles = engine.advance(particles, stop)
        if len(particles) == 1:
            continue
        pictures = engine.pictures(_clean(particles))
        rewards = next(iter(engine.scores(pictures).values()))
        watch(Look(stop, total, pictures, rewards, parents))
        rows = torch.argsort(rewards, descending=True, stable=True)[: (len(particles) + 1) // 2].sort().values.tolist()
        particles, parents = particles.kept(rows), tuple(rows)
    return _finish(engine, engine.advance(particles, total), watch, parents)


METHOD_FUNCTIONS = {
    "best of n": best_of_n,
    "particle steering": particle_steering,
    "drafts": drafts,
    "noise search": noise_search,
    "prune": prune,
}


# --- parts --------------------------------------------------------------------------------------


def look_steps(settings: SearchSettings, total: int) -> list[int]:
    """Return after how many of `total` steps there is a look: evenly from `look_from` to `look_until`, each once."""
    ends = [settings.look_from * total, settings.look_until * total]
    shares = torch.linspace(*ends, settings.looks, dtype=torch.float64).tolist()
    return sorted({min(max(round(share), 1), total - 1) for share in shares} - {0}) if total > 1 else []


def starts(budget: int, stops: Sequence[int], total: int) -> int:
    """Return with how many particles pruning begins: as many as the budget pays for when half go at each stop."""

    def cost(count: int) -> int:
        spent, done = 0, 0
        for stop in (*stops, total):
            spent, done = spent + count * (stop - done), stop
            count = (count + 1) // 2
        return spent

    count = budget // total
    while cost(count + 1) <= budget:
        count += 1
    return count


def leading_lead(drafts_x0: torch.Tensor, leading: Leading) -> Callable[..., torch.Tensor]:
    """Return what leads a network's output towards good drafts, for `Engine.advance`."""
    rewards = torch.tensor(leading.rewards)

    def lead(index: int, x: torch.Tensor, output: torch.Tensor, schedule: VariancePreserving) -> torch.Tensor:
        level = schedule.coefficients[index]
        signal, noise = float(level.a_t.sqrt()), float((1 - level.a_t).sqrt())
        clean = drafts_x0.to(x.device)
        wide = softened(clean, noise)
        direction = guide(x, clean, rewards, signal, wide, leading.temperature)
        moved = led(torch.zeros_like(output), direction, noise, leading.scale)  # of the noise that the network sees
        if level.prediction_type == "v_prediction":
            moved = moved / signal
        elif level.prediction_type == "sample":
            moved = -noise / signal * moved
        return output + moved

    return lead


def _clean(particles: Particles) -> torch.Tensor:
    assert particles.x0 is not None
    return particles.x0


def _finish(engine: Engine, particles: Particles, watch: Watch, parents: tuple[int, ...]) -> Whole:
    pictures = engine.pictures(particles.x)
    scores = engine.scores(pictures)
    rewards = next(iter(scores.values()))
    watch(Look(particles.done, particles.done, pictures, rewards, parents))
    return Whole(particles, pictures, scores, note=engine.meter.stopped)


def _whole(engine: Engine, recipes: Sequence[Recipe], watch: Watch) -> Whole:
    """Make whole pictures, at least one; a limit of time or decodes ends it between a few."""
    schedule = engine.schedule()
    total, limited = len(schedule.timesteps), engine.meter.most_decodes or engine.meter.most_seconds
    size = _CHUNK if limited else len(recipes)
    made: Whole | None = None
    for first in range(0, len(recipes), size):
        some = recipes[first : first + size]
        if engine.meter.most_decodes:
            some = some[: max(1, engine.meter.most_decodes - engine.meter.cost.decodes)]
        done = engine.advance(engine.begin(some, schedule), total)
        part = _finish(engine, done, watch, tuple(range(len(some))))
        made = part if made is None else _joined(made, part)
        if engine.meter.stopped:
            break
    assert made is not None
    return made


def _joined(one: Whole, other: Whole) -> Whole:
    join = partial(torch.cat, dim=0)
    a, b = one.particles, other.particles
    both = Particles(
        join([a.x, b.x]), None, a.seeds + b.seeds, a.states + b.states, a.done, a.made + b.made
    )  # fmt: skip
    scores = {name: join([column, other.scores[name]]) for name, column in one.scores.items()}
    return Whole(both, join([one.pictures, other.pictures]), scores, one.leading, other.note)

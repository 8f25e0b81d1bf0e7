"""Noise search: begin at the best of some unrelated pictures, and look around its noise, a few neighbours a round."""

from __future__ import annotations

from dataclasses import replace

from ...core.randomness import derived_seed
from ..recipe import Recipe
from ..task import Finished, Task
from .best_of_n import unrelated

_NEIGHBOURS = 4  # a round
_SHRINK = 0.7  # of the angle, where no neighbour is better


def noise_search(task: Task) -> Finished:
    """Climb by steps of zero order; whatever was finished may be the best in the end."""
    settings, sampler = task.settings, task.sampler
    whole = task.pictures()
    found = unrelated(task, max(1, min(whole, round(settings.first_share * whole))))
    scores = found.columns[task.reward.name]
    best, angle, number = int(scores.argmax()), settings.angle, 0
    while sampler.meter.left >= task.steps and not sampler.meter.spent():
        count = sampler.meter.room(min(_NEIGHBOURS, sampler.meter.left // task.steps))
        if not count:
            break
        recipes = [_moved(found.recipes[best], angle, task, number + i) for i in range(count)]
        number += count
        found = found + task.finished(sampler.run(sampler.begin(recipes)), [best] * count)
        scores = found.columns[task.reward.name]
        if int(scores.argmax()) == best:
            angle *= _SHRINK
        best = int(scores.argmax())
    return found._replace(note=sampler.meter.spent() if sampler.meter.left >= task.steps else "")


def _moved(recipe: Recipe, angle: float, task: Task, number: int) -> Recipe:
    """Return a neighbour: the first noise turned towards that of a seed of its own, fresh noise as it was."""
    return replace(recipe, moves=(*recipe.moves, (angle, derived_seed(task.settings.seed, "neighbour", number))))

"""Prune: begin many pictures, look once at what they promise to be, finish the best of them."""

from __future__ import annotations

import math

from ...sampling.settings import MAX_BATCH
from ..task import Finished, Task
from .best_of_n import unrelated


def begun(budget: int, steps: int, cut: int, finish: float, looks: int) -> tuple[int, int]:
    """Return how many pictures are begun and how many finished: n cut + k (steps - cut) <= budget, k = ceil(finish n).

    All are looked at once and the finished again: n + k <= looks. (0, 0) where not even one picture fits.
    """
    count, kept = 0, 0
    while count < MAX_BATCH:
        more = math.ceil(finish * (count + 1))
        if (count + 1) * cut + more * (steps - cut) > budget or count + 1 + more > looks:
            break
        count, kept = count + 1, more
    return count, kept


def prune(task: Task) -> Finished:
    """Cut once, by the reward on the predicted x0."""
    settings, sampler, steps = task.settings, task.sampler, task.steps
    task.needs_steps()
    cut = min(steps - 1, max(1, round(settings.look_from * steps))) if steps > 1 else 1
    task.pictures()  # at least one
    count, kept = begun(sampler.meter.left, steps, cut, settings.finish, sampler.meter.room(2 * MAX_BATCH))
    if count < 2:  # nothing to choose from
        return unrelated(task, 1)
    particles = sampler.run(sampler.begin(task.seeds(count)), cut)
    scores, images = task.predicted(particles)
    best = scores.argsort(descending=True, stable=True)[:kept].tolist()
    alive = set(best)
    first = task.look(cut, scores, images, alive=[i in alive for i in range(count)])
    return task.finished(sampler.run(particles.rows(best)), [first + i for i in best])

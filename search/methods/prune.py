"""Prune: begin many pictures, look once at what they promise to be, finish the best of them."""

from __future__ import annotations

import math

from ..task import Finished, Look, Task


def begun(budget: int, steps: int, cut: int, finish: float) -> tuple[int, int]:
    """Return how many pictures are begun and how many finished: n cut + k (steps - cut) <= budget, k = ceil(finish n).

    (0, 0) where not even one picture fits.
    """
    count = 0
    while (count + 1) * cut + math.ceil(finish * (count + 1)) * (steps - cut) <= budget and count < 4096:
        count += 1
    return count, math.ceil(finish * count)


def prune(task: Task) -> Finished:
    """Cut once, by the reward on the predicted x0."""
    settings, sampler, steps = task.settings, task.sampler, task.steps
    task.needs_steps()
    cut = min(steps - 1, max(1, round(settings.look_from * steps))) if steps > 1 else 1
    task.pictures()  # at least one
    count, kept = begun(sampler.meter.left, steps, cut, settings.finish)
    count = max(1, sampler.meter.room(count))
    kept = max(1, min(kept, sampler.meter.room(count + kept) - count))  # the finished are looked at too
    particles = sampler.run(sampler.begin(task.seeds(count)), cut)
    scores, images = task.predicted(particles)
    best = scores.argsort(descending=True, stable=True)[:kept].tolist()
    alive = set(best)
    task.on_look(Look(cut, steps, scores, images, [-1] * count, [i in alive for i in range(count)]))
    return task.finished(sampler.run(particles.rows(best)), best)

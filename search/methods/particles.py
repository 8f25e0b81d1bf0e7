"""Particle steering: N pictures are made side by side; at each look the promising are copied, the weak dropped."""

from __future__ import annotations

import torch

from ...core.randomness import derived_seed
from ..settings import SearchSettings
from ..steering import (
    adaptive_share,
    effective_sample_size,
    first_reward,
    log_potential,
    normalised,
    remembered,
    systematic,
)
from ..task import Finished, Task

_LEAST = 0.5  # of the particles that count, below which they are resampled


def looks(steps: int, settings: SearchSettings) -> list[int]:
    """Return after how many steps particles are looked at: every so many, inside the window, never after the last."""
    first, last = round(settings.look_from * steps), round(settings.look_until * steps)
    return list(range(max(1, first), min(last, steps - 1) + 1, settings.look_every))


def particle_steering(task: Task) -> Finished:
    """Steer N particles, as many as the budget pays, and finish all that are left."""
    settings, sampler = task.settings, task.sampler
    count = task.pictures()
    if settings.strength and count > 1:
        task.needs_steps(noise=True)
    particles = sampler.begin(task.seeds(count))
    weights, note = torch.zeros(count, dtype=torch.float64), ""
    parents: list[int] = []
    before: torch.Tensor | None = None
    for step in looks(task.steps, settings) if settings.strength and count > 1 else ():
        particles = sampler.run(particles, step)
        if sampler.meter.spent() or sampler.meter.room(2 * count) < 2 * count:  # the finished are looked at too
            note = "looked at no more particles: a limit of decodes, scorings or seconds"
            break
        now, images = task.predicted(particles)
        before = first_reward(now) if before is None else before
        gained = log_potential(now, before, settings.strength, settings.potential)
        if settings.temperature == "adaptive":
            gained = gained * adaptive_share(gained, weights, _LEAST)
        weights, before = weights + gained, remembered(now, before, settings.potential)
        if effective_sample_size(weights) < _LEAST * count or settings.temperature == "adaptive":
            offset = derived_seed(settings.seed, "resampling", step) / 2**63
            ancestors = systematic(normalised(weights), offset)
            weights = torch.zeros_like(weights)
        else:
            ancestors = list(range(count))
        alive = set(ancestors)
        first = task.look(step, now, images, parents, [i in alive for i in range(count)])
        parents = [first + ancestor for ancestor in ancestors]
        particles, before = particles.copies(ancestors), before[ancestors]
    return task.finished(sampler.run(particles), parents)._replace(note=note)

"""Drafts: quick pictures of a few steps are scored, and steer slow ones towards the better of them (LiDAR)."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...core.errors import InputError
from ..recipe import Drafts, Recipe
from ..sampler import Change, Sampler
from ..task import Finished, Task


def drafts(task: Task) -> Finished:
    """Spend a share of the budget on drafts, the rest on steered pictures."""
    settings, sampler = task.settings, task.sampler
    task.needs_steps()
    draft_steps = settings.draft_steps
    share = int(settings.draft_share * sampler.meter.left)
    count = min(share, sampler.meter.left - task.steps) // draft_steps
    if count < 2:
        needed = 2 * draft_steps + task.steps
        advice = f"drafts needs two of {draft_steps} evaluations and a picture of {task.steps}. Raise it to at least "
        raise InputError(
            "budget", settings.budget, f"{advice}{max(needed, int(2 * draft_steps / settings.draft_share))}."
        )
    count = max(1, sampler.meter.room(count + 1) - 1)
    quick = draft_sampler(sampler, draft_steps)
    made = quick.run(quick.begin(task.seeds(count)))
    images = sampler.decoded(made.x)
    scores = task.columns(images)[task.reward.name]
    task.look(0, scores, images)
    steered = Drafts(
        tuple(recipe.seed for recipe in made.recipes),
        tuple(scores.tolist()),
        draft_steps,
        settings.strength,
        settings.guide_scale,
    )
    whole = max(1, sampler.meter.room(task.pictures()))
    recipes = [replace(recipe, drafts=steered) for recipe in task.seeds(whole, first=count)]
    change = sampler.guide(made.x, scores, settings.strength, settings.guide_scale)
    return task.finished(sampler.run(sampler.begin(recipes), change=change))


def draft_sampler(sampler: Sampler, steps: int) -> Sampler:
    """Return a sampler of drafts: ddim without fresh noise, a few steps."""
    quick = replace(sampler.settings, scheduler="ddim", steps=steps, eta=0.0)
    return replace(sampler, settings=quick)


def guide_again(sampler: Sampler, recipe: Recipe) -> Change | None:
    """Return what steered a picture, its drafts made again and their rewards remembered; None where nothing did."""
    if recipe.drafts is None:
        return None
    quick = draft_sampler(sampler, recipe.drafts.steps)
    made = quick.run(quick.begin([Recipe(((0, seed),)) for seed in recipe.drafts.seeds]))
    return sampler.guide(made.x, torch.tensor(recipe.drafts.scores), recipe.drafts.strength, recipe.drafts.scale)

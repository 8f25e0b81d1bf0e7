"""What a search found: the best pictures, how each was made, what it cost, and best-of-N for the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from ..ranking.intervals import mean_reach
from ..ranking.table import ScoreTable, rank_table
from .comparison import EqualCost
from .meter import Cost
from .recipe import Recipe


@dataclass(frozen=True, eq=False)
class Found:
    """The kept pictures, B of them: prompt after prompt, best first.

    Attributes:
        images: float32 (B, H, W, 3) in [0, 1].
        latents: float32 (B, C, h, w), scaled as the UNet sees them.
        scores: (B,) float32, the reward's.
        columns: the same and those of the reward's members, by name.
        main: the reward's name.
        prompts: B texts.
        recipes: how each was made.
        common: what all were made with: method, sampling settings and the model's fingerprint, as JSON takes it.
        cost: of the search, comparisons not counted.
        compared: one for each prompt, and what measuring the comparison cost.
        report: all of it in words.
    """

    images: torch.Tensor
    latents: torch.Tensor
    columns: Mapping[str, torch.Tensor]
    main: str
    prompts: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    common: Mapping[str, Any]
    cost: Cost
    compared: tuple[EqualCost, ...]
    report: str

    @property
    def scores(self) -> torch.Tensor:
        """The reward's scores, (B,)."""
        return self.columns[self.main]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture's first noise."""
        return tuple(recipe.seed for recipe in self.recipes)

    def made(self) -> tuple[dict[str, Any], ...]:
        """How each picture was made, as its file keeps it and `again` reads it."""
        return tuple({**self.common, "recipe": recipe.record()} for recipe in self.recipes)

    def table(self) -> ScoreTable:
        """Return the pictures as rows, ranked inside each prompt, with their lineage."""
        extras, columns = {"latents": self.latents}, dict(self.columns)
        table = ScoreTable(self.images, self.prompts, self.seeds, columns, self.main, extras=extras, made=self.made())
        return rank_table(table, top_k=0, group_by="prompt")[0]


def in_words(method: str, cost: Cost, compared: tuple[EqualCost, ...], notes: list[str]) -> str:
    """Write the report: cost, the best scores, best-of-N for the same cost, and what happened."""
    best, prompts = [one.best for one in compared], len(compared)
    mean = f"best score {fmean(best):.3f}" + (f" on average of {prompts} prompts" if prompts > 1 else "")
    lines = [f"{method}: {mean}", f"cost: {cost}", _baseline(compared)]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _baseline(compared: tuple[EqualCost, ...]) -> str:
    """Write the comparison with best-of-N of the same network evaluations."""
    pictures, known = compared[0].pictures, [one for one in compared if one.baseline is not None]
    name = f"best of {pictures} for as many network evaluations"
    if len(known) < len(compared):
        return f"{name}: not known. Switch compare on to measure it, for the same cost once more."
    theirs = fmean(one.baseline for one in known if one.baseline is not None)
    how = {one.how for one in known}
    if how == {"from its own pictures"}:
        return f"{name}: {theirs:.3f}, which is this"
    ahead = torch.tensor([one.best - (one.baseline or 0.0) for one in known])
    line = f"{name}: {theirs:.3f} ({', '.join(sorted(how))}), so this is {float(ahead.mean()):+.3f}"
    if len(ahead) > 1:
        line += f" (95% interval of the difference: {float(ahead.mean()):+.3f} +- {mean_reach(ahead):.3f})"
    return f"{line}. {_verdict(ahead)}"


def _verdict(ahead: torch.Tensor) -> str:
    if len(ahead) < 2:
        return "One prompt proves little."
    if float(ahead.mean().abs()) <= mean_reach(ahead):
        return "No difference is shown."
    return "It was worth it." if float(ahead.mean()) > 0 else "best_of_n would have been better."

"""A run as a picture: reward with its standard deviation, and the figures that its algorithm reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from ...core.errors import InputError
from ...plots.series import Series, draw_series
from ..algorithms.classes import CLASSES
from .comparisons import compared, kept_epoch
from .report import EpochReport


def panels(reports: Sequence[EpochReport]) -> list[Series]:
    """List what is drawn of a run, the reward first; figures that no epoch has are left out."""
    series = []
    rewards = [math.nan if r.reward is None else r.reward for r in reports]
    if any(map(math.isfinite, rewards)):
        stds = [r.reward_std or 0.0 for r in reports]
        series.append(Series("reward: mean and standard deviation", rewards, stds))
    made_by = CLASSES.get(reports[-1].algorithm)
    for figure in made_by.figures if made_by is not None else ():
        if not figure.title:
            continue
        values = [r.figures.get(figure.name, math.nan) for r in reports]
        known = [value for value in values if math.isfinite(value)]
        if any(known) or (known and not figure.if_any):
            series.append(Series(figure.title, [value - figure.minus for value in values]))
    series += [Series(line.title, line.values) for line in compared(reports)]
    asked = [float((r.evaluation or {}).get("accuracy", math.nan)) for r in reports]
    if any(map(math.isfinite, asked)):
        series.append(Series("held-out pairs agreed on", asked))
    if len(reports[-1].rewards) > 1:
        series += [Series(name, [r.rewards.get(name, math.nan) for r in reports]) for name in reports[-1].rewards]
    return series


def curve(reports: Sequence[EpochReport], *, title: str = "") -> Image.Image:
    """Draw a run, RGB, 1200 pixels wide. Raises InputError without an epoch to draw."""
    if not reports:
        raise InputError("report", "0 epochs", "Connect the report of a Fine-Tune that has run.")
    heading = title or f"{len(reports)} epochs, {sum(r.pictures for r in reports)} pictures"
    kept, last = kept_epoch(reports), len(reports)
    if kept is None or kept == last:
        return draw_series(panels(reports), heading)
    words = f"epoch {kept} is kept" if kept else "the untrained model is kept"
    return draw_series(panels(reports), f"{heading}; {words}", mark=kept or None)

"""The figures of a run as a picture: reward, loss, distance from the base, clipping, ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from ...core.errors import InputError
from ...plots.series import Series, draw_series
from .report import EpochReport


def panels(reports: Sequence[EpochReport]) -> list[Series]:
    """List what is drawn of a run, the reward first; figures that are 0 throughout are left out."""
    series = [
        Series("reward: mean and spread", [r.reward for r in reports], [r.reward_std for r in reports]),
        Series("loss", [r.loss for r in reports]),
        Series("held back (clip fraction)", [r.clip_fraction for r in reports]),
        Series("probability ratio, less 1", [r.ratio - 1 for r in reports]),
        Series("gradient", [r.grad_norm for r in reports]),
    ]
    if any(r.kl for r in reports):
        series.insert(2, Series("distance from the base (KL)", [r.kl for r in reports]))
    if len(reports[-1].rewards) > 1:
        series += [Series(name, [r.rewards.get(name, math.nan) for r in reports]) for name in reports[-1].rewards]
    return series


def curve(reports: Sequence[EpochReport], *, title: str = "") -> Image.Image:
    """Draw a run, RGB, 1200 pixels wide. Raises InputError without an epoch to draw."""
    if not reports:
        raise InputError("report", "0 epochs", "Connect the report of a Fine-Tune that has run.")
    heading = title or f"{len(reports)} epochs, {sum(r.pictures for r in reports)} pictures"
    return draw_series(panels(reports), heading)

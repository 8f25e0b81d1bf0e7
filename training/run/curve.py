"""A run as a picture: reward with its standard deviation, and the figures that its algorithm reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from ...core.errors import InputError
from ...plots.axes import ticks
from .report import EpochReport, drawn_figures

BACKGROUND, PANEL, TEXT, DIM = (22, 24, 29), (33, 36, 43), (236, 238, 242), (150, 156, 168)
LINE, BAND, GUIDE = (96, 165, 250), (45, 66, 97), (58, 62, 72)
WIDTH, GAP = 1200, 14
_SCALE = 2  # drawn larger, then reduced: smooth lines


class Series(NamedTuple):
    """Describe a panel: a title, a value for each epoch (NaN where there is none), and half the height of its band."""

    title: str
    values: Sequence[float]
    spread: Sequence[float] = ()


def panels(reports: Sequence[EpochReport]) -> list[Series]:
    """Return what is drawn of a run, the reward first; figures that no epoch has are left out."""
    rewards = [math.nan if r.reward is None else r.reward for r in reports]
    series = [Series("reward: mean and standard deviation", rewards, [r.reward_std or 0.0 for r in reports])]
    for figure in drawn_figures(reports[-1].algorithm):
        values = [r.figures.get(figure.name, math.nan) for r in reports]
        known = [value for value in values if math.isfinite(value)]
        if any(known) or (known and not figure.if_any):
            series.append(Series(figure.title, [value - figure.minus for value in values]))
    if len(reports[-1].rewards) > 1:
        series += [Series(name, [r.rewards.get(name, math.nan) for r in reports]) for name in reports[-1].rewards]
    return series


def curve(reports: Sequence[EpochReport], *, title: str = "") -> Image.Image:
    """Draw a run, RGB, 1200 pixels wide. Raises InputError without an epoch to draw."""
    if not reports:
        raise InputError("report", "0 epochs", "Connect the report of a Fine-Tune that has run.")
    heading = title or f"{len(reports)} epochs, {sum(r.pictures for r in reports)} pictures"
    return draw_series(panels(reports), heading)


def draw_series(series: Sequence[Series], heading: str) -> Image.Image:
    """Panels under a heading, the first one large."""
    first, *others = series
    columns = 2 if len(others) <= 4 else 3
    small = (WIDTH - GAP * (columns + 1)) // columns
    rows = math.ceil(len(others) / columns)
    canvas = Image.new("RGB", (WIDTH * _SCALE, (60 + 380 + GAP + rows * (200 + GAP)) * _SCALE), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP * _SCALE, 16 * _SCALE), heading, TEXT, ImageFont.load_default(22 * _SCALE))
    _panel(draw, first, (GAP, 60, WIDTH - 2 * GAP, 380))
    for i, other in enumerate(others):
        corner = (GAP + i % columns * (small + GAP), 60 + 380 + GAP + i // columns * (200 + GAP))
        _panel(draw, other, (*corner, small, 200))
    return canvas.reduce(_SCALE)


def _panel(draw: ImageDraw.ImageDraw, series: Series, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = (n * _SCALE for n in box)
    small, normal = ImageFont.load_default(12 * _SCALE), ImageFont.load_default(14 * _SCALE)
    draw.rounded_rectangle((x, y, x + width, y + height), 6 * _SCALE, PANEL)
    draw.text((x + 12 * _SCALE, y + 8 * _SCALE), series.title, TEXT, normal)
    known = [(i, v) for i, v in enumerate(series.values) if math.isfinite(v)]
    if not known:
        return
    draw.text((x + width - 12 * _SCALE, y + 8 * _SCALE), _number(known[-1][1]), LINE, normal, anchor="ra")
    low, high = _range(series, known)
    left, right = x + 62 * _SCALE, x + width - 16 * _SCALE
    top, bottom = y + 36 * _SCALE, y + height - 26 * _SCALE

    def at(i: float, value: float) -> tuple[float, float]:
        share = i / max(1, len(series.values) - 1)
        return left + (right - left) * share, top + (bottom - top) * (high - value) / (high - low)

    if series.spread:
        upper = [at(i, v + series.spread[i]) for i, v in known]
        lower = [at(i, v - series.spread[i]) for i, v in known]
        draw.polygon([*upper, *reversed(lower)], BAND)
    for value in ticks(low, high, 7 if height > 300 * _SCALE else 4):
        level = at(0, value)[1]
        draw.line((left, level, right, level), GUIDE, _SCALE)
        draw.text((left - 6 * _SCALE, level), _number(value), DIM, small, anchor="rm")
    for epoch in ticks(1, len(series.values), 6):
        if epoch == int(epoch):
            draw.text((at(epoch - 1, low)[0], bottom + 5 * _SCALE), str(int(epoch)), DIM, small, anchor="ma")
    line = [at(i, v) for i, v in known]
    if len(line) > 1:
        draw.line(line, LINE, 3 * _SCALE, joint="curve")
    radius = 4 * _SCALE
    draw.ellipse((line[-1][0] - radius, line[-1][1] - radius, line[-1][0] + radius, line[-1][1] + radius), LINE)


def _range(series: Series, known: Sequence[tuple[int, float]]) -> tuple[float, float]:
    around = [series.spread[i] if series.spread else 0.0 for i, _ in known]
    low = min(v - s for (_, v), s in zip(known, around, strict=True))
    high = max(v + s for (_, v), s in zip(known, around, strict=True))
    margin = 0.06 * (high - low) or max(abs(high) * 0.01, 1e-6)
    return low - margin, high + margin


def _number(value: float) -> str:
    return f"{value:.4g}"

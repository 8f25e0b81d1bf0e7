"""Figures over the epochs of a run as lines: panels under a heading, the first one large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from .axes import reach, short_number, ticks
from .canvas import Box, Canvas
from .theme import BAND, BLUE, DIM, GREEN, TEXT, TRACK

WIDTH, GAP = 1200, 14


class Series(NamedTuple):
    """One panel: a title, a value for each epoch (NaN where there is none) and, if any, its standard deviation."""

    title: str
    values: Sequence[float]
    std: Sequence[float] = ()


def draw_series(series: Sequence[Series], heading: str, *, mark: int | None = None) -> Image.Image:
    """Draw panels under a heading, the first one large. RGB, 1200 pixels wide. `mark` is an epoch to mark, from 1."""
    first, *others = series
    columns = 2 if len(others) <= 4 else 3
    small = (WIDTH - GAP * (columns + 1)) // columns
    rows = math.ceil(len(others) / columns)
    canvas = Canvas(WIDTH, 60 + 380 + GAP + rows * (200 + GAP))
    canvas.text((GAP, 16), heading, TEXT, 22)
    _panel(canvas, first, (GAP, 60, WIDTH - 2 * GAP, 380), mark)
    for i, other in enumerate(others):
        corner = (GAP + i % columns * (small + GAP), 60 + 380 + GAP + i // columns * (200 + GAP))
        _panel(canvas, other, (*corner, small, 200), mark)
    return canvas.picture()


def _panel(canvas: Canvas, series: Series, box: Box, mark: int | None) -> None:
    x, y, width, height = box
    canvas.panel(box)
    canvas.text((x + 12, y + 8), series.title, TEXT, 14)
    known = [(i, v) for i, v in enumerate(series.values) if math.isfinite(v)]
    if not known:
        return
    canvas.text((x + width - 12, y + 8), short_number(known[-1][1]), BLUE, 14, anchor="ra")
    around = series.std or [0.0] * len(series.values)
    low, high = reach([v + side * around[i] for i, v in known for side in (-1, 1)], flat=0.01)
    left, right, top, bottom = x + 62, x + width - 16, y + 36, y + height - 26

    def at(i: float, value: float) -> tuple[float, float]:
        share = i / max(1, len(series.values) - 1)
        return left + (right - left) * share, top + (bottom - top) * (high - value) / (high - low)

    if series.std:
        upper = [at(i, v + around[i]) for i, v in known]
        lower = [at(i, v - around[i]) for i, v in known]
        canvas.polygon([*upper, *reversed(lower)], BAND)
    for value in ticks(low, high, 7 if height > 300 else 4):
        level = at(0, value)[1]
        canvas.line([(left, level), (right, level)], TRACK)
        canvas.text((left - 6, level), short_number(value), DIM, 12, anchor="rm")
    for epoch in ticks(1, len(series.values), 6):
        if epoch == int(epoch):
            canvas.text((at(epoch - 1, low)[0], bottom + 5), str(int(epoch)), DIM, 12, anchor="ma")
    if mark is not None and 1 <= mark <= len(series.values):
        across = at(mark - 1, low)[0]
        canvas.line([(across, top), (across, bottom)], GREEN, 2)
    line = [at(i, v) for i, v in known]
    if len(line) > 1:
        canvas.line(line, BLUE, 3)
    canvas.dot(line[-1], 4, BLUE)

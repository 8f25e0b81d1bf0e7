"""Figures of one or several models as a picture: a panel a figure, a row a section, a dot with its interval a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from ...plots.axes import reach, short_number, ticks
from ...plots.canvas import Box, Canvas
from ...plots.theme import COLOURS, DIM, TEXT, TRACK
from ..fid.distance import Estimate
from ..measures import LOWER_IS_BETTER
from ..result import Evaluation
from ..settings import OVERALL

_WIDTH, _GAP, _ROW, _NAMES = 1200, 14, 22, 104
_PANEL_TOP, _PANEL_FOOT = 34, 26


def figures(evaluations: Sequence[Evaluation]) -> list[str]:
    """Names of all figures, in the order they were measured: FID first."""
    names: dict[str, None] = {}
    for evaluation in evaluations:
        for values in evaluation.sections.values():
            names.update(dict.fromkeys(values))
    return list(names)


def sections(evaluations: Sequence[Evaluation]) -> list[str]:
    """Names of all sections, overall first."""
    names: dict[str, None] = {OVERALL: None}
    for evaluation in evaluations:
        names.update(dict.fromkeys(evaluation.sections))
    return [OVERALL, *sorted(name for name in names if name != OVERALL)]


def chart(evaluations: Sequence[Evaluation]) -> Image.Image:
    """Draw all figures of all models. RGB, 1200 pixels wide."""
    panels = [(name, _rows(evaluations, name)) for name in figures(evaluations)]
    odd = len(panels) % 2  # the first then has a line to itself
    lines = [panels[:odd]] * odd + [panels[i : i + 2] for i in range(odd, len(panels), 2)]
    heights = [max(_height(rows, len(evaluations)) for _, rows in line) for line in lines]
    canvas = Canvas(_WIDTH, 54 + sum(heights) + _GAP * len(lines))
    _legend(canvas, evaluations)
    y = 54
    for line, height in zip(lines, heights, strict=True):
        width = (_WIDTH - _GAP * (len(line) + 1)) // len(line)
        for column, (name, rows) in enumerate(line):
            box = (_GAP + column * (width + _GAP), y, width, height)
            _panel(canvas, name, rows, box, len(evaluations))
        y += height + _GAP
    return canvas.picture()


def _rows(evaluations: Sequence[Evaluation], name: str) -> list[tuple[str, list[Estimate | None]]]:
    """Return (section, an estimate for each model) of the sections that have this figure."""
    rows = [(s, [e.sections.get(s, {}).get(name) for e in evaluations]) for s in sections(evaluations)]
    return [row for row in rows if any(row[1])]


def _height(rows: Sequence[object], models: int) -> int:
    return _PANEL_TOP + _PANEL_FOOT + len(rows) * _row_height(models)


def _row_height(models: int) -> int:
    return max(_ROW, 12 * models + 6)


def _legend(canvas: Canvas, evaluations: Sequence[Evaluation]) -> None:
    x, room = float(_GAP), (_WIDTH - 2 * _GAP) // len(evaluations)
    for i, evaluation in enumerate(evaluations):
        canvas.dot((x + 6, 27), 6, COLOURS[i % len(COLOURS)])
        count = evaluation.about.get("pictures")
        text = f"{evaluation.title}, {count:,} pictures" if isinstance(count, int) else evaluation.title
        x += canvas.text((x + 18, 27), text, TEXT, 18, anchor="lm", width=room - 24) + 36


def _panel(
    canvas: Canvas, name: str, rows: Sequence[tuple[str, Sequence[Estimate | None]]], box: Box, models: int
) -> None:
    x, y, width, _ = box
    canvas.panel(box)
    canvas.text((x + 12, y + 8), name, TEXT, 15)
    canvas.text((x + width - 12, y + 10), _direction(name), DIM, 12, anchor="ra")
    ends = [v for _, estimates in rows for e in estimates if e is not None for v in (e.value, e.low, e.high)]
    low, high = reach(ends, flat=0.05)
    left, right = x + _NAMES + 16, x + width - 76
    top, each = y + _PANEL_TOP, _row_height(models)
    bottom = top + len(rows) * each

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    for value in ticks(low, high, 6):
        canvas.line([(at(value), top), (at(value), bottom)], TRACK)
        canvas.text((at(value), bottom + 5), short_number(value), DIM, 11, anchor="ma")
    for number, (section, estimates) in enumerate(rows):
        middle, overall = top + (number + 0.5) * each, section == OVERALL
        canvas.text((x + 12, middle), section, TEXT if overall else DIM, 13, anchor="lm", width=_NAMES)
        for i, estimate in enumerate(estimates):
            if estimate is None:
                continue
            level, colour = middle + (i - (models - 1) / 2) * 11, COLOURS[i % len(COLOURS)]
            if math.isfinite(estimate.low):
                canvas.interval(at(estimate.low), at(estimate.high), level, colour)
            canvas.dot((at(estimate.value), level), 4.5 if overall else 3.5, colour)
            size = 12 if models == 1 else 10
            canvas.text((x + width - 10, level), short_number(estimate.value), colour, size, anchor="rm")


def _direction(name: str) -> str:
    """Say which way a figure is better."""
    if name == "diversity":
        return "neither higher nor lower is better"
    return "lower is better" if name in LOWER_IS_BETTER else "higher is better"

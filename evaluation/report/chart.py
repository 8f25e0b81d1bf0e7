"""Figures of one or several models as a picture: a panel a figure, a row a section, a dot with its interval a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ...plots.axes import ticks
from ...ranking.output.sheet import BACKGROUND, DIM, PANEL, TEXT, TRACK, shortened
from ..fid.distance import Estimate
from ..measures import LOWER_IS_BETTER
from ..result import Evaluation
from ..settings import OVERALL

COLOURS = ((96, 165, 250), (245, 196, 81), (92, 190, 126), (226, 112, 98), (190, 140, 240), (120, 210, 210))
_SCALE = 2  # drawn larger, then reduced: smooth lines
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
    canvas = Image.new("RGB", (_WIDTH * _SCALE, (54 + sum(heights) + _GAP * len(lines)) * _SCALE), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _legend(draw, evaluations)
    y = 54
    for line, height in zip(lines, heights, strict=True):
        width = (_WIDTH - _GAP * (len(line) + 1)) // len(line)
        for column, (name, rows) in enumerate(line):
            box = (_GAP + column * (width + _GAP), y, width, height)
            _panel(draw, name, rows, box, len(evaluations))
        y += height + _GAP
    return canvas.reduce(_SCALE)


def _rows(evaluations: Sequence[Evaluation], name: str) -> list[tuple[str, list[Estimate | None]]]:
    """(section, an estimate for each model) of the sections that have this figure."""
    rows = [(s, [e.sections.get(s, {}).get(name) for e in evaluations]) for s in sections(evaluations)]
    return [row for row in rows if any(row[1])]


def _height(rows: Sequence[object], models: int) -> int:
    return _PANEL_TOP + _PANEL_FOOT + len(rows) * _row_height(models)


def _row_height(models: int) -> int:
    return max(_ROW, 12 * models + 6)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SCALE)


def _legend(draw: ImageDraw.ImageDraw, evaluations: Sequence[Evaluation]) -> None:
    x, room = _GAP * _SCALE, (_WIDTH - 2 * _GAP) * _SCALE // len(evaluations)
    for i, evaluation in enumerate(evaluations):
        radius, middle = 6 * _SCALE, 27 * _SCALE
        draw.ellipse((x, middle - radius, x + 2 * radius, middle + radius), COLOURS[i % len(COLOURS)])
        count = evaluation.about.get("pictures")
        text = f"{evaluation.title}, {count:,} pictures" if isinstance(count, int) else evaluation.title
        text = shortened(draw, text, _font(18), room - 4 * radius)
        draw.text((x + 3 * radius, middle), text, TEXT, _font(18), anchor="lm")
        x += int(draw.textlength(text, _font(18))) + 6 * radius


def _panel(
    draw: ImageDraw.ImageDraw,
    name: str,
    rows: Sequence[tuple[str, Sequence[Estimate | None]]],
    box: tuple[int, int, int, int],
    models: int,
) -> None:
    x, y, width, height = (n * _SCALE for n in box)
    draw.rounded_rectangle((x, y, x + width, y + height), 6 * _SCALE, PANEL)
    draw.text((x + 12 * _SCALE, y + 8 * _SCALE), name, TEXT, _font(15))
    way = "lower is better" if name in LOWER_IS_BETTER else "a measure, not a mark" if name == "diversity" else ""
    draw.text((x + width - 12 * _SCALE, y + 10 * _SCALE), way or "higher is better", DIM, _font(12), anchor="ra")
    low, high = _range([e for _, estimates in rows for e in estimates if e is not None])
    left, right = x + (_NAMES + 16) * _SCALE, x + width - 76 * _SCALE
    top, each = y + _PANEL_TOP * _SCALE, _row_height(models) * _SCALE
    bottom = top + len(rows) * each

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    for value in ticks(low, high, 6):
        draw.line((at(value), top, at(value), bottom), TRACK, _SCALE)
        draw.text((at(value), bottom + 5 * _SCALE), f"{value:.4g}", DIM, _font(11), anchor="ma")
    for number, (section, estimates) in enumerate(rows):
        middle = top + (number + 0.5) * each
        shade = TEXT if section == OVERALL else DIM
        label = shortened(draw, section, _font(13), _NAMES * _SCALE)
        draw.text((x + 12 * _SCALE, middle), label, shade, _font(13), anchor="lm")
        for i, estimate in enumerate(estimates):
            if estimate is not None:
                level = middle + (i - (models - 1) / 2) * 11 * _SCALE
                _dot(draw, estimate, at, level, COLOURS[i % len(COLOURS)], large=section == OVERALL)
                size = 12 if models == 1 else 10
                place = (x + width - 10 * _SCALE, level)
                draw.text(place, f"{estimate.value:.4g}", COLOURS[i % len(COLOURS)], _font(size), anchor="rm")


def _dot(draw: ImageDraw.ImageDraw, estimate: Estimate, at, level: float, colour, *, large: bool) -> None:
    if math.isfinite(estimate.low):
        ends = at(estimate.low), at(estimate.high)
        draw.line((ends[0], level, ends[1], level), colour, 2 * _SCALE)
        for end in ends:
            draw.line((end, level - 3 * _SCALE, end, level + 3 * _SCALE), colour, 2 * _SCALE)
    radius = (4.5 if large else 3.5) * _SCALE
    middle = at(estimate.value)
    draw.ellipse((middle - radius, level - radius, middle + radius, level + radius), colour)


def _range(estimates: Sequence[Estimate]) -> tuple[float, float]:
    ends = [v for e in estimates for v in (e.value, e.low, e.high) if math.isfinite(v)]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or max(abs(high) * 0.05, 1e-6)
    return low - margin, high + margin

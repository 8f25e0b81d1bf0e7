"""Several lines over a common axis, each point with its interval: how a figure grows with what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from .axes import reach, short_number, ticks
from .canvas import Canvas, Point
from .theme import COLOURS, DIM, TEXT, TRACK, Colour

WIDTH, HEIGHT = 1100, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 300, 76, 66


class Line(NamedTuple):
    """A line: its name, the x and y of its points, and half the length of each one's interval; none without."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] = ()


def draw_lines(
    lines: Sequence[Line],
    heading: str,
    *,
    across: str,
    up: str,
    even: bool = False,
    level: tuple[str, float] | None = None,
) -> Image.Image:
    """Draw lines with a legend at the right. RGB, 1100 by 520 pixels.

    Args:
        across, up: what the axes say.
        even: whether the x that are there stand evenly, as for doublings; else by their size.
        level: name and y of a level line, such as a ceiling.
    """
    xs = sorted({x for line in lines for x in line.x})
    ends = [end for line in lines for end in _ends(line)]
    low, high = reach([*ends, *([level[1]] if level else [])], flat=0.01)
    canvas = Canvas(WIDTH, HEIGHT)
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    canvas.panel((14, 56, WIDTH - 28, HEIGHT - 70))
    canvas.text((16, 16), heading, TEXT, 20, width=WIDTH - 32)

    def place(x: float) -> float:
        share = xs.index(x) / max(1, len(xs) - 1) if even else (x - xs[0]) / max(xs[-1] - xs[0], 1e-12)
        return _LEFT + share * (right - _LEFT)

    def at(x: float, y: float) -> Point:
        return place(x), _TOP + (bottom - _TOP) * (high - y) / (high - low)

    for value in ticks(low, high, 6):
        y = at(xs[0], value)[1]
        canvas.line([(_LEFT, y), (right, y)], TRACK)
        canvas.text((_LEFT - 8, y), short_number(value), DIM, 13, anchor="rm")
    for x in xs if even else ticks(xs[0], xs[-1], 8):
        canvas.text((place(x) if even else at(x, low)[0], bottom + 8), short_number(x), DIM, 13, anchor="ma")
    canvas.text(((_LEFT + right) / 2, bottom + 30), across, DIM, 14, anchor="ma")
    canvas.text((_LEFT, 60), up, DIM, 14)
    if level is not None:
        y = at(xs[0], level[1])[1]
        canvas.line([(_LEFT, y), (right, y)], DIM, 2)
        canvas.text((right + 14, y), level[0], DIM, 13, anchor="lm", width=_RIGHT - 40)
    for i, line in enumerate(lines):
        _draw(canvas, line, COLOURS[i % len(COLOURS)], at)
    _legend(canvas, lines, right + 14)
    return canvas.picture()


def _ends(line: Line) -> list[float]:
    """Return where each point's interval begins and ends."""
    error = line.error or [0.0] * len(line.y)
    return [y + sign * e for y, e in zip(line.y, error, strict=True) for sign in (-1, 1)]


def _draw(canvas: Canvas, line: Line, colour: Colour, at: Callable[[float, float], Point]) -> None:
    known = [i for i, y in enumerate(line.y) if math.isfinite(y)]
    points = [at(line.x[i], line.y[i]) for i in known]
    if len(points) > 1:
        canvas.line(points, colour, 3)
    for i, (x, y) in zip(known, points, strict=True):
        canvas.dot((x, y), 4, colour)
        if line.error:
            reached = [at(line.x[i], line.y[i] + sign * line.error[i])[1] for sign in (-1, 1)]
            canvas.line([(x, reached[0]), (x, reached[1])], colour, 1)


def _legend(canvas: Canvas, lines: Sequence[Line], x: float) -> None:
    """Name the lines, the highest at its end first."""
    order = sorted(range(len(lines)), key=lambda i: -lines[i].y[-1])
    for place, i in enumerate(order):
        y = HEIGHT / 2 - 12 * len(lines) + 24 * place + 40
        canvas.line([(x, y), (x + 18, y)], COLOURS[i % len(COLOURS)], 3)
        canvas.text((x + 26, y), lines[i].name, TEXT, 13, anchor="lm", width=_RIGHT - 60)

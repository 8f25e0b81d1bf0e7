"""A picture to draw charts on, at twice its size and then reduced, so that lines are smooth."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from .theme import BACKGROUND, PANEL, TEXT, Colour, font, shortened

_SCALE = 2
Box = tuple[float, float, float, float]
Point = tuple[float, float]


class Canvas:
    """All coordinates are pixels of the finished picture; a box is (x, y, width, height)."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), BACKGROUND)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self) -> Image.Image:
        """Return the finished picture, RGB."""
        return self._image.reduce(_SCALE)

    def text(
        self,
        at: Point,
        text: str,
        colour: Colour = TEXT,
        size: int = 14,
        *,
        anchor: str = "la",
        width: float | None = None,
    ) -> float:
        """Write one line, shortened to `width` where that is given; return how long it is."""
        letters = font(size * _SCALE)
        if width is not None:
            text = shortened(self._draw, text, letters, width * _SCALE)
        self._draw.text((at[0] * _SCALE, at[1] * _SCALE), text, colour, letters, anchor=anchor)
        return self._draw.textlength(text, letters) / _SCALE

    def panel(self, box: Box, *, radius: int = 6, colour: Colour = PANEL) -> None:
        """Fill a box with rounded corners."""
        x, y, width, height = (n * _SCALE for n in box)
        self._draw.rounded_rectangle((x, y, x + width, y + height), radius * _SCALE, colour)

    def line(self, points: Sequence[Point], colour: Colour, width: int = 1) -> None:
        """Draw a line through points."""
        joint = "curve" if len(points) > 2 else None
        self._draw.line([(x * _SCALE, y * _SCALE) for x, y in points], colour, width * _SCALE, joint=joint)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], colour)

    def dot(self, at: Point, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        (x, y), r = (at[0] * _SCALE, at[1] * _SCALE), radius * _SCALE
        self._draw.ellipse((x - r, y - r, x + r, y + r), colour)

    def interval(self, low: float, high: float, y: float, colour: Colour, *, cap: int = 3) -> None:
        """Draw a level line from `low` to `high` with a cap at each end."""
        self.line([(low, y), (high, y)], colour, 2)
        for end in (low, high):
            self.line([(end, y - cap), (end, y + cap)], colour, 2)

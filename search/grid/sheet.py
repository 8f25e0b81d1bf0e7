"""A grid as one picture a page: columns and rows with their means, and the pictures of each cell."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw, ImageOps

from ...images.decode import PictureError
from ...images.thumbnails import thumbnail
from ...plots.axes import reach as around
from ...plots.theme import BACKGROUND, BLUE, DIM, GOLD, PANEL, TEXT, TRACK, font, shortened
from .means import Mean, number
from .run import Grid

GAP, HEAD, TOP, LABEL, SIDE = 8, 76, 62, 24, 176
_WIDE, _LEAST, _MOST = 1800, 72, 320  # pixels: of all cells of a row, of one cell
_PIXELS = 2**24  # of the cells of all pages
_SHOWN = 16  # pictures of one cell


def sheet(grid: Grid, page: int) -> Image.Image:
    """Draw one page of a grid. RGB; all pages have the same size."""
    return _Sheet(grid, page).draw()


class _Sheet:
    def __init__(self, grid: Grid, page: int) -> None:
        self.grid, self.plan, self.page = grid, grid.plan, page
        _, self.rows, self.columns, variants = self.plan.shape
        self.shown = min(variants, _SHOWN)
        self.side = math.ceil(math.sqrt(self.shown))  # pictures along a side of a cell
        height, width = grid.table.pictures.size(0)
        shape = min(max(height / width, 0.4), 2.5)
        room = min(_MOST, max(_LEAST, _WIDE // self.columns - GAP), max(160, width * self.side))
        cells = len(self.plan.shots) // variants
        room = max(_LEAST, min(room, int(math.sqrt(_PIXELS / (cells * shape)))))
        self.small = room // self.side, round(room // self.side * shape)
        self.cell = self.small[0] * self.side, self.small[1] * math.ceil(self.shown / self.side)
        size = SIDE + self.columns * (self.cell[0] + GAP) + GAP, HEAD + TOP + self.rows * (self.cell[1] + LABEL + GAP)
        self.canvas = Image.new("RGB", (max(size[0], 560), size[1]), BACKGROUND)
        self.pen = ImageDraw.Draw(self.canvas)

    def draw(self) -> Image.Image:
        self._heading()
        found = self.grid.means
        for column, mean in enumerate(found.columns):
            x = SIDE + column * (self.cell[0] + GAP)
            self._margin((x, HEAD, self.cell[0], TOP), self.plan.columns.labels[column], mean, found.columns)
        for row, mean in enumerate(found.rows):
            y = HEAD + TOP + row * (self.cell[1] + LABEL + GAP)
            if len(self.plan.rows) > 1:
                self._margin((GAP, y, SIDE - 2 * GAP, TOP), self.plan.rows.labels[row], mean, found.rows)
            for column in range(self.columns):
                self._cell((SIDE + column * (self.cell[0] + GAP), y), row, column)
        return self.canvas

    def _heading(self) -> None:
        width = self.canvas.width - 2 * GAP
        page = self.plan.pages.words(self.page)
        best = self.plan.words(self.grid.means.best)
        title = f"{page}   best: {best}" if page else f"best: {best}"
        self._text((GAP + 4, 10), f"{title}:  {number(self.grid.means.cells[self.grid.means.best])}", 20, TEXT, width)
        rows = f", down: {self.plan.rows.setting}" if len(self.plan.rows) > 1 else ""
        prompts = {shot.prompt for shot in self.plan.shots}
        prompt = f'"{next(iter(prompts))}"' if len(prompts) == 1 else f"{len(prompts)} prompts"
        said = f"across: {self.plan.columns.setting}{rows}; {self.grid.table.main}, higher is better; {prompt}"
        self._text((GAP + 4, 42), said, 14, DIM, width)

    def _margin(self, box: tuple[int, int, int, int], label: str, mean: Mean, all_of: tuple[Mean, ...]) -> None:
        """Write a value of an axis with its mean, and draw where that and its interval lie among the others."""
        x, y, width, _ = box
        best = mean == max(all_of, key=lambda one: one.value) and len(all_of) > 1
        self._text((x + 4, y + 4), label, 16, TEXT, width - 8)
        self._text((x + 4, y + 25), number(mean), 13, GOLD if best else DIM, width - 8)
        low, high = around([m.value + s * (m.reach or 0.0) for m in all_of for s in (-1, 1)], flat=0.01)
        left, right, level = x + 6, x + width - 10, y + 49

        def at(value: float) -> float:
            return left + (right - left) * (value - low) / (high - low)

        self.pen.line((left, level, right, level), TRACK, 1)
        if mean.reach is not None:
            self.pen.line((at(mean.value - mean.reach), level, at(mean.value + mean.reach), level), BLUE, 3)
        middle = at(mean.value)
        self.pen.ellipse((middle - 4, level - 4, middle + 4, level + 4), GOLD if best else BLUE)

    def _cell(self, corner: tuple[int, int], row: int, column: int) -> None:
        (x, y), (width, height) = corner, self.cell
        cell = (self.page * self.rows + row) * self.columns + column
        best, mean = cell == self.grid.means.best, self.grid.means.cells[cell]
        self.pen.rounded_rectangle((x, y, x + width, y + height + LABEL), 5, PANEL)
        first = cell * len(self.plan.variants)
        for k in range(self.shown):
            at = x + k % self.side * self.small[0], y + k // self.side * self.small[1]
            self.canvas.paste(self._picture(first + k), at)
        if best:
            self.pen.rectangle((x - 3, y - 3, x + width + 2, y + height + LABEL + 2), outline=GOLD, width=3)
        words = f"best {mean.value:+.3f}" if best else f"{mean.value:+.3f}"
        self._text((x + 6, y + height + 4), words, 14, GOLD if best else TEXT, width - 10)

    def _picture(self, i: int) -> Image.Image:
        """Return a picture in its frame; an empty one where its file is gone."""
        try:
            picture = thumbnail(self.grid.table.pictures, i, 2 * max(self.small))
        except PictureError:
            return Image.new("RGB", self.small, TRACK)
        return ImageOps.pad(picture, self.small, Image.Resampling.LANCZOS, color=PANEL)

    def _text(self, at: tuple[int, int], text: str, size: int, colour: tuple[int, int, int], width: float) -> None:
        self.pen.text(at, shortened(self.pen, text, font(size), width), colour, font(size))

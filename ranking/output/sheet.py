"""A labelled contact sheet of a ranked table, as one picture."""

from __future__ import annotations

import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from PIL import Image, ImageDraw, ImageOps

from ...images.decode import PictureError
from ...images.thumbnails import thumbnail
from ...plots.theme import BACKGROUND, BLUE, DIM, GOLD, PANEL, TEXT, TRACK, font, shortened
from ..table import ScoreTable

GAP = 12
MAX_PICTURES = 400
_READERS = 4


def _cell_size(table: ScoreTable) -> tuple[int, int]:
    """Return (width, height) of a picture on the sheet: of the middle shape and size among those shown."""
    sizes = [table.pictures.size(i) for i in range(len(table))]
    side = statistics.median_high(max(size) for size in sizes)
    shape = statistics.median_high(height / width for height, width in sizes)
    width = min(max(side, 160), 320)
    return width, max(1, round(width * min(max(shape, 0.4), 2.5)))


def sheet(table: ScoreTable, *, columns: int = 0, title: str = "") -> Image.Image:
    """Draw a ranked table, best first. RGB, at most 400 pictures.

    A table ranked inside each prompt has a heading above each, where prompts have enough pictures to fill rows;
    otherwise the prompt stands below each picture.
    `columns` 0 chooses: up to 8, fewer for few or large pictures.
    """
    table = table.rows(range(min(len(table), MAX_PICTURES)))
    one_prompt = len(set(table.prompts)) == 1
    groups = _groups(table)
    by_prompt = _headed(groups)
    groups = groups if by_prompt else [list(range(len(table)))]
    longest = max(len(g) for g in groups)
    cell = _Cell(table, show_prompt=not (by_prompt or one_prompt))
    columns = columns or min(longest, 8 if cell.width <= 200 else 5, max(4, math.ceil(math.sqrt(2 * longest))))
    sorted_by = "best first" if by_prompt or table.group_by == "all" else "best of each prompt first"
    heading = title or (f'"{table.prompts[0]}"' if one_prompt else f"{len(table)} pictures, {sorted_by}")
    width = GAP + columns * (cell.width + GAP)
    rows = sum(math.ceil(len(g) / columns) for g in groups)
    height = 64 + rows * (cell.height + GAP) + (34 * len(groups) if by_prompt else 0) + GAP // 2
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, 10), shortened(draw, heading, font(20), width - 2 * GAP), TEXT, font(20))
    draw.text((GAP, 37), f"{table.main}: higher is better", DIM, font(14))
    y = 64
    with ThreadPoolExecutor(_READERS, "tastemaker-sheet") as readers:
        order = [i for group in groups for i in group]
        small = dict(zip(order, readers.map(cell.small, order), strict=True))
    for group in groups:
        if by_prompt:
            text = shortened(draw, f'"{table.prompts[group[0]]}"', font(16), width - 2 * GAP)
            draw.text((GAP, y + 6), text, TEXT, font(16))
            y += 34
        for place, i in enumerate(group):
            column, row = place % columns, place // columns
            corner = (GAP + column * (cell.width + GAP), y + row * (cell.height + GAP))
            cell.paint(canvas, corner, i, small.pop(i))
        y += math.ceil(len(group) / columns) * (cell.height + GAP)
    return canvas


def _groups(table: ScoreTable) -> list[list[int]]:
    """Return the rows ranked together: those of each prompt, or all."""
    prompts = table.prompts if table.group_by == "prompt" else [""] * len(table)
    return [list(g) for _, g in groupby(range(len(table)), key=lambda i: prompts[i])]


def _headed(groups: list[list[int]]) -> bool:
    """Return whether each group gets a heading and rows of its own: many small ones would make a strip of a sheet."""
    longest = max(len(group) for group in groups)
    return 1 < len(groups) <= 4 * longest and longest > 1


class _Cell:
    """One picture with its rank, score, seed and a bar that shows where the score lies."""

    def __init__(self, table: ScoreTable, *, show_prompt: bool) -> None:
        self.table, self.show_prompt = table, show_prompt
        self.width, self.picture_height = _cell_size(table)
        self.height = self.picture_height + (66 if show_prompt else 48)
        values = table.scores[table.main].tolist()
        self.low, self.high = min(values), max(values)

    def small(self, i: int) -> Image.Image:
        """Return picture `i` in its frame; an empty one where its file is gone."""
        frame = (self.width, self.picture_height)
        try:
            picture = thumbnail(self.table.pictures, i, max(frame))
        except PictureError:
            return Image.new("RGB", frame, TRACK)
        return ImageOps.pad(picture, frame, Image.Resampling.LANCZOS, color=PANEL)

    def paint(self, canvas: Image.Image, corner: tuple[int, int], i: int, small: Image.Image) -> None:
        x, y = corner
        draw = ImageDraw.Draw(canvas)
        rank = None if self.table.ranks is None else int(self.table.ranks[i])
        best = rank == 1
        draw.rounded_rectangle((x, y, x + self.width, y + self.height), 6, PANEL)
        canvas.paste(small, (x, y))
        if best:
            draw.rectangle((x, y, x + self.width - 1, y + self.picture_height - 1), outline=GOLD, width=3)
        score = float(self.table.scores[self.table.main][i])
        base = y + self.picture_height
        label = "" if rank is None else f"#{rank}"
        draw.text((x + 8, base + 7), label, GOLD if best else TEXT, font(17))
        draw.text((x + self.width - 8, base + 7), f"{score:+.3f}", TEXT, font(17), anchor="ra")
        left, right = x + self.width // 2, x + self.width - 8
        seed = self.table.seeds[i]
        if seed is not None:
            draw.text((x + 8, base + 28), f"seed {seed}", DIM, font(12))
            left = max(left, x + 16 + int(draw.textlength(f"seed {seed}", font(12))))
        if right - left >= 20:  # a seed of nineteen digits leaves no room
            share = 0.5 if self.high <= self.low else (score - self.low) / (self.high - self.low)
            filled = left + max(4, int((right - left) * share))
            draw.rounded_rectangle((left, base + 33, right, base + 37), 2, TRACK)
            draw.rounded_rectangle((left, base + 33, filled, base + 37), 2, BLUE)
        if self.show_prompt:
            text = shortened(draw, self.table.prompts[i], font(12), self.width - 16)
            draw.text((x + 8, base + 46), text, DIM, font(12))

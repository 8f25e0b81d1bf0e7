"""Before and after as one picture: pairs side by side with their scores, and the figures above them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageOps

from ...images.convert import to_pil
from ...plots.theme import BACKGROUND, DIM, GREEN, PANEL, RED, TEXT, font, shortened
from ..comparison import Difference, best_examples, compare, in_words, paired
from ..table import ScoreTable
from .sheet import GAP

SIDE = 220  # of the longer side of a picture, pixels
CAPTION = 46  # below a pair
HEAD, LINE = 58, 22  # above the pairs: the heading, and each figure
MAX_PAIRS = 64


def comparison_sheet(before: ScoreTable, after: ScoreTable, *, pairs: int = 12, columns: int = 3) -> Image.Image:
    """Draw `pairs` pairs, evenly from the largest gain to the largest loss. RGB.

    Raises InputError when the tables are no pairs.
    """
    found = compare(before, after)
    before, after = paired(before, after)
    shown = best_examples(before, after, min(pairs, MAX_PAIRS))
    columns = max(1, min(columns, len(shown)))
    height, width = before.pictures.picture(shown[0]).shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cell = 2 * size[0] + 4, size[1] + CAPTION
    total = max(GAP + columns * (cell[0] + GAP), 760)
    top = HEAD + LINE * len(found)
    rows = math.ceil(len(shown) / columns)
    canvas = Image.new("RGB", (total, top + rows * (cell[1] + GAP)), BACKGROUND)
    _heading(ImageDraw.Draw(canvas), found, len(before), len(shown), total)
    for place, i in enumerate(shown):
        corner = GAP + place % columns * (cell[0] + GAP), top + place // columns * (cell[1] + GAP)
        _pair(canvas, corner, size, before, after, i)
    return canvas


def _heading(draw: ImageDraw.ImageDraw, found: Sequence[Difference], count: int, shown: int, width: int) -> None:
    rate = found[0].win_rate
    title = f"after wins {rate.value:.0%} of {count} pairs"
    draw.text((GAP, 10), title, TEXT, font(20))
    note = "before on the left, after on the right; largest gain first, largest loss last"
    note += "" if shown == count else f"; {shown} of {count} shown"
    draw.text((GAP + draw.textlength(title, font(20)) + 16, 15), note, DIM, font(13))
    for line, difference in enumerate(found):
        text = shortened(draw, in_words(difference), font(14), width - 2 * GAP)
        draw.text((GAP, 42 + LINE * line), text, TEXT if line == 0 else DIM, font(14))


def _pair(
    canvas: Image.Image, corner: tuple[int, int], size: tuple[int, int], before: ScoreTable, after: ScoreTable, i: int
) -> None:
    (x, y), (width, height) = corner, size
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((x, y, x + 2 * width + 4, y + height + CAPTION), 6, PANEL)
    scores = [float(table.scores[table.main][i]) for table in (before, after)]
    colours = [DIM, DIM if scores[0] == scores[1] else GREEN if scores[1] > scores[0] else RED]
    for place, (table, score, colour) in enumerate(zip((before, after), scores, colours, strict=True)):
        left = x + place * (width + 4)
        picture = ImageOps.pad(to_pil(table.pictures.picture(i)), size, Image.Resampling.LANCZOS, color=PANEL)
        canvas.paste(picture, (left, y))
        draw.text((left + 8, y + height + 6), f"{score:+.3f}", colour, font(15))
    text = shortened(draw, before.prompts[i], font(12), 2 * width - 12)
    draw.text((x + 8, y + height + 27), text, DIM, font(12))

"""The README's picture of what each way of learning does: `python -m benchmarks.side_by_side` writes docs/ways.jpg.

From the sheets of 12 pairs that the benchmarks leave, largest gain first: the fourth to the sixth.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from tastemaker.plots.theme import BACKGROUND, DIM, TEXT, font
from tastemaker.ranking.output.comparison_sheet import CAPTION, HEAD, LINE, SIDE
from tastemaker.ranking.output.sheet import GAP

HERE = Path(__file__).parent
ROW = SIDE + CAPTION + GAP  # of a sheet of square pictures
TITLE = 34
# name, words, sheet, and how many figures stand above its pairs
WAYS = (
    ("clipped (DDPO)", "put things at the top, in 13.5 minutes of one core", "ddpo/imagereward.jpg", 2),
    ("matching", "the same, in 4.7 minutes, rehearsing", "ddpo/way-place-matching-rehearsed.jpg", 2),
    (
        "preference",
        "the same, from 200 pairs and no reward, in 3.7 minutes: two of three pictures gain, most of them little",
        "preference/imagereward.jpg",
        1,
    ),
    ("reward_gradient", "beauty, without prompts, in one minute", "ddpo/way-aesthetic-reward_gradient.jpg", 2),
)


def main() -> None:
    """Write the picture."""
    rows = []
    for name, words, sheet, figures in WAYS:
        top = HEAD + LINE * figures + ROW
        with Image.open(HERE / sheet) as opened:
            rows.append((name, words, opened.convert("RGB").crop((0, top, opened.width, top + ROW - GAP))))
    width = max(row.width for *_, row in rows)
    height = sum(TITLE + row.height + 10 for *_, row in rows)
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw, y = ImageDraw.Draw(picture), 0
    for name, words, row in rows:
        draw.text((14, y + 7), name, TEXT, font(18))
        draw.text((28 + draw.textlength(name, font(18)), y + 11), words, DIM, font(14))
        picture.paste(row, (0, y + TITLE))
        y += TITLE + row.height + 10
    picture.save(HERE.parent / "docs" / "ways.jpg", quality=88)


if __name__ == "__main__":
    main()

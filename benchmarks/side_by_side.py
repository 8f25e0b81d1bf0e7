"""The README's picture of what each way of learning does: `python -m benchmarks.side_by_side` writes docs/ways.jpg.

From the sheets of pairs before and after that the benchmarks leave, the second row: three pairs of average gain.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from tastemaker.plots.theme import BACKGROUND, DIM, TEXT, font

HERE = Path(__file__).parent
# of a comparison sheet of 12 pairs in three columns with two figures above them
ROW, TOP = 278, 102
HEAD = 34
WAYS = (
    ("clipped (DDPO)", "things belong at the top; 13.5 minutes of one core", "ddpo/imagereward.jpg"),
    ("matching", "the same, in 4.7 minutes", "ddpo/way-place-matching.jpg"),
    ("preference", "the same, from 200 pairs and no reward, in 5 minutes", "preference/imagereward.jpg"),
    ("reward_gradient", "beauty, without prompts, in one minute", "ddpo/way-aesthetic-reward_gradient.jpg"),
)


def main() -> None:
    """Write the picture."""
    rows = []
    for name, words, sheet in WAYS:
        with Image.open(HERE / sheet) as opened:
            rows.append((name, words, opened.convert("RGB").crop((0, TOP + ROW, opened.width, TOP + 2 * ROW - 12))))
    width = max(row.width for *_, row in rows)
    height = sum(HEAD + row.height + 10 for *_, row in rows)
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw, y = ImageDraw.Draw(picture), 0
    for name, words, row in rows:
        draw.text((14, y + 7), name, TEXT, font(18))
        draw.text((28 + draw.textlength(name, font(18)), y + 11), words, DIM, font(14))
        picture.paste(row, (0, y + HEAD))
        y += HEAD + row.height + 10
    picture.save(HERE.parent / "docs" / "ways.jpg", quality=88)


if __name__ == "__main__":
    main()

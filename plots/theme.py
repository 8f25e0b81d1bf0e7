"""Colours and lettering of every picture the pack draws."""

from __future__ import annotations

from PIL import ImageDraw, ImageFont

BACKGROUND, PANEL, TEXT, DIM = (22, 24, 29), (33, 36, 43), (236, 238, 242), (150, 156, 168)
BLUE, GOLD, GREEN, RED = (96, 165, 250), (245, 196, 81), (92, 190, 126), (226, 112, 98)
TRACK = (58, 62, 72)  # what is not filled of a bar; guide lines
BAND = (45, 66, 97)  # around a blue line
COLOURS = (BLUE, GOLD, GREEN, RED, (190, 140, 240), (120, 210, 210))  # of models side by side

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font(size: int) -> Font:
    """Return Pillow's own font: the same letters on every machine."""
    return ImageFont.load_default(size)


def shortened(draw: ImageDraw.ImageDraw, text: str, letters: Font, width: float) -> str:
    """Return the text on one line of at most `width`, with three dots where it had to be cut."""
    text = " ".join(text.split())
    if draw.textlength(text, letters) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if draw.textlength(text[:middle] + "...", letters) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "..."

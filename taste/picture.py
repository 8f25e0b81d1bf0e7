"""What a taste has learned as a picture: its best and worst pictures, and the named attributes with their intervals."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..images.pictures import Pictures
from ..images.thumbnails import thumbnail
from ..plots.canvas import Canvas
from ..plots.theme import BLUE, DIM, TEXT, TRACK
from .taste import Taste
from .words import Learned, agreement, learned

_SIDE, _GAP, _ROW, _MOST = 112, 8, 26, 6
_HEAD, _LABELS = 58, 200


def learned_picture(taste: Taste, pictures: Pictures, features: np.ndarray) -> Image.Image:
    """Draw what a taste has learned of pictures with these features (B, D)."""
    count = min(_MOST, len(pictures) // 2 or 1)
    width = _GAP + _MOST * (_SIDE + _GAP)
    parts = learned(taste)
    rows = 2 * (_SIDE + 30)
    canvas = Canvas(width, _HEAD + rows + 34 + _ROW * len(parts) + 12)
    found = agreement(taste, features)
    canvas.text((_GAP, 8), f"What {taste.name} likes", size=20, width=width - 2 * _GAP)
    said = f"{len(taste.counted)} clicks; agrees with you on {found.accuracy:.0%} of pairs"
    said += f" ({found.accuracy_low:.0%} to {found.accuracy_high:.0%}), you with yourself on {found.own:.0%}"
    canvas.text((_GAP, 34), said, DIM, 14, width=width - 2 * _GAP)
    order = np.argsort(-(features @ taste.posterior.mean), kind="stable")
    for line, title in enumerate(("liked most", "liked least")):
        canvas.text((_GAP, _HEAD + 6 + line * (_SIDE + 30)), title, DIM, 14)
    _bars(canvas, parts, _HEAD + rows + 10, width)
    picture = canvas.picture()
    for line, chosen in enumerate((order[:count], order[::-1][:count])):
        for place, row in enumerate(chosen):
            small = _fitted(thumbnail(pictures, int(row), _SIDE))
            at = (_GAP + place * (_SIDE + _GAP), _HEAD + 26 + line * (_SIDE + 30))
            picture.paste(small, (at[0] + (_SIDE - small.width) // 2, at[1] + (_SIDE - small.height) // 2))
    return picture


def _fitted(small: Image.Image) -> Image.Image:
    """Make a very small picture as large as the others: it would be a dot among them."""
    longer = max(small.size)
    size = (max(1, small.width * _SIDE // longer), max(1, small.height * _SIDE // longer))
    return small.resize(size, Image.Resampling.BICUBIC) if longer < _SIDE else small


def _bars(canvas: Canvas, parts: list[Learned], top: float, width: float) -> None:
    reach = max([abs(v) for one in parts for v in (one.low, one.high)] + [0.1])
    left, right = _LABELS + 2 * _GAP, width - 2 * _GAP
    middle, unit = (left + right) / 2, (right - left) / 2 / reach
    canvas.text((_GAP, top), "compared with the crowd", DIM, 14)
    canvas.text((right, top), "weight and 90% interval", DIM, 14, anchor="ra")
    canvas.line([(middle, top + 22), (middle, top + 22 + _ROW * len(parts))], TRACK)
    for row, one in enumerate(parts):
        y = top + 24 + _ROW * row + _ROW / 2
        colour, letters = (BLUE, TEXT) if one.sure else (DIM, DIM)
        canvas.text((_GAP, y), one.words, letters, 15, anchor="lm", width=_LABELS)
        # every bar points to where its words are: to the right, what is said of it is liked
        sign = 1 if one.weight >= 0 else -1
        low, high = sorted((sign * one.low, sign * one.high))
        canvas.interval(middle + low * unit, middle + high * unit, y, colour)
        canvas.dot((middle + sign * one.weight * unit, y), 4, colour)

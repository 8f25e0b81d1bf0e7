"""What a taste has learned as a picture: best and worst, attributes with their intervals, why, and a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..images.pictures import Pictures
from ..images.thumbnails import thumbnail
from ..plots.canvas import Canvas
from ..plots.heat import heated
from ..plots.theme import BLUE, DIM, TEXT, TRACK
from .taste import Taste
from .words import Learned, agreement, learned, why

_SIDE, _GAP, _ROW, _MOST = 112, 8, 26, 6
_HEAD, _LABELS = 58, 200
_MAP_HEIGHT, _ON_MAP, _DOT = 330, 48, 40  # the map's height, how many pictures it has, and their size
_REASONS = 4


class Explained(NamedTuple):
    """A picture to say why of: its row, and where its score comes from (H, W), None where that is not known."""

    row: int
    heat: np.ndarray | None


def extremes(taste: Taste, features: np.ndarray) -> tuple[int, int]:
    """Return the rows of the pictures that are liked most and least. Shape: features (B, D)."""
    liked = features @ taste.posterior.mean
    return int(liked.argmax()), int(liked.argmin())


def map_places(taste: Taste, features: np.ndarray) -> np.ndarray:
    """Place pictures by the two main directions in which the taste tells them apart: (B, D) to (B, 2) in [0, 1].

    They are the first two principal components of the shares w * phi that add up to a score; to the right, and up, is
    what is liked more.
    """
    shares = (features - features.mean(0)) * taste.posterior.mean
    left, values, _ = np.linalg.svd(shares, full_matrices=False)
    places = np.zeros((len(features), 2))
    found = (left * values)[:, :2]
    places[:, : found.shape[1]] = found
    liked = shares.sum(1)
    places *= np.where(places.T @ liked < 0, -1.0, 1.0)
    reach = np.abs(places).max(0)
    return 0.5 + 0.5 * places / np.where(reach > 0, reach, 1.0)


def learned_picture(
    taste: Taste, pictures: Pictures, features: np.ndarray, explained: Sequence[Explained] = ()
) -> Image.Image:
    """Draw what a taste has learned of B pictures with these features (B, D), and why of `explained` ones."""
    count = min(_MOST, len(pictures) // 2 or 1)
    width = _GAP + _MOST * (_SIDE + _GAP)
    parts = learned(taste)
    rows = 2 * (_SIDE + 30)
    bars = _HEAD + rows + 34 + _ROW * len(parts) + 12
    reasons = len(explained) * (_SIDE + 34)
    canvas = Canvas(width, bars + reasons + _MAP_HEIGHT + 40)
    found = agreement(taste, features)
    canvas.text((_GAP, 8), f"What {taste.name} likes", size=20, width=width - 2 * _GAP)
    said = f"{len(taste.counted)} clicks; agrees with you on {found.accuracy:.0%} of pairs"
    said += f" ({found.accuracy_low:.0%} to {found.accuracy_high:.0%}), you with yourself on {found.own:.0%}"
    canvas.text((_GAP, 34), said, DIM, 14, width=width - 2 * _GAP)
    order = np.argsort(-(features @ taste.posterior.mean), kind="stable")
    for line, title in enumerate(("liked most", "liked least")):
        canvas.text((_GAP, _HEAD + 6 + line * (_SIDE + 30)), title, DIM, 14)
    _bars(canvas, parts, _HEAD + rows + 10, width)
    for place, one in enumerate(explained):
        _say_why(canvas, taste, features, one, bars + place * (_SIDE + 34))
    top = bars + reasons
    canvas.text((_GAP, top), "pictures by what tells them apart for you: liked more to the right and up", DIM, 14)
    canvas.panel((_GAP, top + 24, width - 2 * _GAP, _MAP_HEIGHT))
    picture = canvas.picture()
    for place, one in enumerate(explained):
        _paste_why(picture, pictures, one, bars + place * (_SIDE + 34))
    _paste_map(picture, taste, pictures, features, top + 24)
    for line, chosen in enumerate((order[:count], order[::-1][:count])):
        for place, row in enumerate(chosen):
            small = _fitted(thumbnail(pictures, int(row), _SIDE))
            at = (_GAP + place * (_SIDE + _GAP), _HEAD + 26 + line * (_SIDE + 30))
            picture.paste(small, (at[0] + (_SIDE - small.width) // 2, at[1] + (_SIDE - small.height) // 2))
    return picture


def _fitted(small: Image.Image) -> Image.Image:
    """Make a very small picture as large as the others: it would be a dot among them."""
    return small.resize(_within(small.size, _SIDE), Image.Resampling.BICUBIC) if max(small.size) < _SIDE else small


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


def _say_why(canvas: Canvas, taste: Taste, features: np.ndarray, one: Explained, top: float) -> None:
    """Write why a picture scores as it does, the strongest reasons first."""
    liked = features @ taste.posterior.mean
    above = liked[one.row] >= np.median(liked)
    canvas.text((_GAP, top), "why it is liked most" if above else "why it is liked least", DIM, 14)
    left = _GAP + (2 if one.heat is not None else 1) * (_SIDE + _GAP) + 8
    for line, (words, share) in enumerate(why(taste, features[one.row], features)[:_REASONS]):
        canvas.text((left, top + 34 + line * _ROW), f"{share:+.2f}  {words}", TEXT, 15)


def _paste_why(picture: Image.Image, pictures: Pictures, one: Explained, top: float) -> None:
    small = _fitted(thumbnail(pictures, one.row, _SIDE)).convert("RGB")
    shown = [small] if one.heat is None else [small, heated(small, one.heat)]
    for place, image in enumerate(shown):
        picture.paste(image, (_GAP + place * (_SIDE + _GAP), int(top) + 22))


def _paste_map(picture: Image.Image, taste: Taste, pictures: Pictures, features: np.ndarray, top: float) -> None:
    """Put pictures on the map, evenly chosen from the least to the most liked, those on top last."""
    order = np.argsort(features @ taste.posterior.mean, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(_ON_MAP, len(order))).round().astype(int))]
    places = map_places(taste, features)
    width = picture.width - 2 * _GAP
    for row in chosen:
        small = thumbnail(pictures, int(row), _DOT)
        small = small.resize(_within(small.size, _DOT), Image.Resampling.BICUBIC)
        x = _GAP + 6 + places[row, 0] * (width - 12 - _DOT)
        y = top + 6 + (1 - places[row, 1]) * (_MAP_HEIGHT - 12 - _DOT)
        picture.paste(small.convert("RGB"), (int(x), int(y)))


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    longer = max(size)
    return max(1, size[0] * side // longer), max(1, size[1] * side // longer)

"""Reads thing, landscape, size and place back from a picture of the emoji world.

No learning: the landscape is the one whose plain sky lies nearest to the picture's; every thing, at
every size and place and a little beside it, is laid over that landscape, and the one that explains
most of what the bare landscape does not is what the picture shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from PIL import Image

from .world import LANDSCAPES, PLACES, SIZE_PX, SIZES, THINGS, Jitter, Scene, draw_landscape, place_thing

CLEAN = 0.75  # a thing that explains less than this share of its place's difference to the landscape is no clean thing
_COARSE = 2  # things are compared at half the size
_SIDE = SIZE_PX // _COARSE
_SKY_ROWS = 22
_SHIFTS = (-2.0, 0.0, 2.0)  # pixels


@dataclass(frozen=True)
class Reading:
    """What a picture shows. `explained` is the share of its difference to the landscape that the thing is, up to 1."""

    thing: str
    landscape: str
    size: str
    place: str
    explained: float

    @property
    def clean(self) -> bool:
        return self.explained >= CLEAN


@dataclass(frozen=True)
class _Templates:
    """Every scene's thing: its part of each pixel (N, h, w) and its colours times that part (N, h, w, 3)."""

    scenes: list[tuple[str, str, str]]
    cover: np.ndarray
    colours: np.ndarray


def _shrunk(picture: Image.Image, width: int) -> np.ndarray:
    return np.asarray(picture.resize((width, width), Image.Resampling.BOX), dtype=np.float32) / 255


@cache
def _templates() -> _Templates:
    scenes, alone = [], []
    for thing, size, place, dx, dy in product(THINGS, SIZES, PLACES, _SHIFTS, _SHIFTS):
        scene = Scene(thing, "", size, place)
        scenes.append((thing, size, place))
        # premultiplied, so that shrinking mixes no colour of what is transparent
        alone.append(_shrunk(place_thing(scene, Jitter(dx=dx, dy=dy)).convert("RGBa"), _SIDE))
    every = np.stack(alone)
    return _Templates(scenes, every[..., 3], every[..., :3])


@cache
def _bare() -> tuple[np.ndarray, np.ndarray]:
    """Return the plain landscapes (8, h, w, 3) in half the size, and their skies (8, rows, 3)."""
    full = np.stack([_shrunk(draw_landscape(name), SIZE_PX) for name in LANDSCAPES])
    half = full.reshape(len(full), _SIDE, _COARSE, _SIDE, _COARSE, 3).mean((2, 4))
    return half, full[:, :_SKY_ROWS].mean(2)


def read(picture: np.ndarray) -> Reading:
    """Read a picture, uint8 or float in [0, 1], (H, W, 3), H = W = 96."""
    pixels = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    bare, skies = _bare()
    sky = np.median(pixels[:_SKY_ROWS], axis=1)  # (rows, 3); what hangs in the sky is less than half of a row
    landscape = int(np.abs(skies - sky).mean((1, 2)).argmin())
    half = pixels.reshape(_SIDE, _COARSE, _SIDE, _COARSE, 3).mean((1, 3))
    templates, ground = _templates(), bare[landscape]

    # with cover a, colours a*t: what is missed with the thing, |p - (a*t + (1-a)*g)|^2 = |(p-g) - a*(t-g)|^2,
    # against |p-g|^2 without it
    seen = half - ground
    drawn = templates.colours - templates.cover[..., None] * ground
    overlap = drawn.reshape(len(drawn), -1) @ seen.ravel()
    gained = 2 * overlap - _own_squares(landscape)
    best = int(gained.argmax())
    thing, size, place = templates.scenes[best]
    missed = float((np.square(seen) * templates.cover[best][..., None]).sum())
    left = float((np.square(seen - drawn[best]) * templates.cover[best][..., None]).sum())
    explained = 1 - left / max(missed, 1e-6)
    return Reading(thing, tuple(LANDSCAPES)[landscape], size, place, explained)


@cache
def _own_squares(landscape: int) -> np.ndarray:
    """|a*(t - g)|^2 of every template over a landscape, (N,)."""
    templates, ground = _templates(), _bare()[0][landscape]
    return np.square(templates.colours - templates.cover[..., None] * ground).sum((1, 2, 3))

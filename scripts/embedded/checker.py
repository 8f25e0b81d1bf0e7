"""Reads shape, colour, background, size and position back from a picture of the world.

No learning: pixels are named by the palette line they lie nearest to (a palette line is a colour
under any light), the mask of the shape is compared with each shape drawn at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from .world import COLOURS, POSITIONS, SHAPES, SIZES, pixel_grid, signed_distance

CLEAN_IOU = 0.80  # a drawn shape that overlaps the best template less than this is no clean shape
_NAMES = tuple(COLOURS)
_LIGHT = (0.62, 1.12)  # how far shading scales a colour


@dataclass(frozen=True)
class Reading:
    """What a picture shows. `overlap` is the IoU with the best shape, in [0, 1]."""

    shape: str
    colour: str
    background: str
    size: str
    position: str
    overlap: float

    @property
    def clean(self) -> bool:
        return self.overlap >= CLEAN_IOU


def _distance_to_lines(pixels: np.ndarray) -> np.ndarray:
    """Distance of pixels (..., 3) to each palette colour under any light: (..., 8)."""
    palette = np.array([COLOURS[name] for name in _NAMES])
    light = np.clip(pixels @ palette.T / (palette**2).sum(1), *_LIGHT)
    return np.linalg.norm(pixels[..., None, :] - light[..., None] * palette, axis=-1)


@cache
def _extent(shape: str) -> tuple[float, float, float, float]:
    """Bounding box (left, top, right, bottom) of a shape of radius 1."""
    line = np.linspace(-1.3, 1.3, 261)
    x, y = np.meshgrid(line, line)
    inside = signed_distance(shape, x, y) < 0
    columns, rows = line[inside.any(0)], line[inside.any(1)]
    return columns[0], rows[0], columns[-1], rows[-1]


def _match(mask: np.ndarray, shape: str) -> tuple[float, float, float, float]:
    """(IoU, radius, centre x, centre y) of a shape fitted to the bounding box of a mask."""
    x, y = pixel_grid()
    left, right = x[mask].min() - 0.5, x[mask].max() + 0.5
    top, bottom = y[mask].min() - 0.5, y[mask].max() + 0.5
    l1, t1, r1, b1 = _extent(shape)
    radius = ((right - left) / (r1 - l1) + (bottom - top) / (b1 - t1)) / 2
    cx = (left + right) / 2 - radius * (l1 + r1) / 2
    cy = (top + bottom) / 2 - radius * (t1 + b1) / 2
    drawn = signed_distance(shape, (x - cx) / radius, (y - cy) / radius) < 0
    return (mask & drawn).sum() / max((mask | drawn).sum(), 1), radius, cx, cy


def read(picture: np.ndarray) -> Reading:
    """Read a picture, float (H, W, 3) in [0, 1], H = W = 64."""
    lines = _distance_to_lines(picture.astype(np.float64))  # (H, W, 8)
    border = np.concatenate([lines[:2].reshape(-1, 8), lines[-2:].reshape(-1, 8)])
    border = np.concatenate([border, lines[:, :2].reshape(-1, 8), lines[:, -2:].reshape(-1, 8)])
    background = int(np.median(border, axis=0).argmin())

    nearest = lines.argmin(-1)
    counts = np.bincount(nearest[nearest != background], minlength=8)
    colour = int(counts.argmax())
    mask = _largest_piece(lines[..., colour] < lines[..., background])
    if mask.sum() < 12 or colour == background:
        return Reading("none", _NAMES[colour], _NAMES[background], "none", "none", 0.0)

    fits = {shape: _match(mask, shape) for shape in SHAPES}
    shape = max(fits, key=lambda s: fits[s][0])
    overlap, radius, cx, cy = fits[shape]
    size = min(SIZES, key=lambda s: abs(SIZES[s] - radius))
    position = min(POSITIONS, key=lambda p: np.hypot(cx - POSITIONS[p][0], cy - POSITIONS[p][1]))
    return Reading(shape, _NAMES[colour], _NAMES[background], size, position, float(overlap))


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest 4-connected piece of a mask (H, W)."""
    pieces, _ = ndimage.label(mask)  # 0 is what the mask leaves out
    sizes = np.bincount(pieces[mask], minlength=1)
    return mask & (pieces == sizes.argmax())

"""A heat map over the picture it belongs to."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .theme import GOLD

_FADED = 0.35  # of a picture's brightness where nothing counts


def heated(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """Return a picture, RGB, grey and dark where heat (H, W) is 0, as it is where it is 1."""
    colour = picture.convert("RGB")
    grey = colour.convert("L").point(lambda level: int(level * _FADED)).convert("RGB")
    mask = Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8)).resize(colour.size, Image.Resampling.BICUBIC)
    shown = Image.composite(colour, grey, mask)
    edge = mask.point(lambda level: 90 if 120 <= level <= 150 else 0)
    shown.paste(GOLD, (0, 0), edge)
    return shown

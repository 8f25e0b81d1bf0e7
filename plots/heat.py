"""A heat map over the picture it belongs to."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from .theme import GOLD

_FADED = 0.5  # of a picture's brightness where nothing counts
_HOT = 140  # of 255: a line goes around what is hotter


def heated(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """Return a picture, RGB, grey and dark where heat (H, W) is 0, as it is where it is 1, with a line around."""
    colour = picture.convert("RGB")
    grey = colour.convert("L").point(lambda level: int(level * _FADED)).convert("RGB")
    mask = Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8)).resize(colour.size, Image.Resampling.BICUBIC)
    shown = Image.composite(colour, grey, mask)
    hot = mask.point(lambda level: 255 if level >= _HOT else 0)
    width = 2 * max(1, max(colour.size) // 400) + 1  # an odd number of pixels
    shown.paste(GOLD, (0, 0), ImageChops.subtract(hot, hot.filter(ImageFilter.MinFilter(width))))
    return shown

"""Small pictures for sheets, pages and galleries."""

from __future__ import annotations

import io

import torch
from PIL import Image

from .convert import to_pil
from .pictures import Pictures

THUMBNAIL_SIDE, VIEW_SIDE = 256, 1024
_QUALITY = 88


def thumbnail(pictures: Pictures, i: int, side: int) -> Image.Image:
    """Return picture `i` as 8-bit RGB, made smaller so that it fits into `side` x `side`; never made larger.

    Raises PictureError for a file that is gone or broken.
    """
    return _within(pictures.decode(i, at_least=2 * side), side)


def _within(picture: Image.Image, side: int) -> Image.Image:
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def encoded(picture: Image.Image) -> bytes:
    """Encode a small picture as JPEG."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def preview(picture: torch.Tensor | Image.Image, side: int) -> tuple[bytes, str]:
    """Encode a picture (H, W, 3) in [0, 1] as a file's data and extension: a JPEG that fits into `side` x `side`.

    One that fits already is a PNG, pixel for pixel.
    """
    image = to_pil(picture) if isinstance(picture, torch.Tensor) else picture
    if max(image.size) > side:
        return encoded(_within(image, side)), "jpg"
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=4)
    return data.getvalue(), "png"

"""A picture's file to pixels, with limits: nothing is decoded that is no picture, or larger than any."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..core.errors import TastemakerError
from .limits import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS, MAX_PICTURE_RATIO, MAX_PICTURE_SIDE

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp")
_ORIENTATION = 0x0112
# what Pillow raises of a broken file: whatever its reader happened to stumble over
_BROKEN = (
    *(OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, AttributeError, AssertionError),
    *(ArithmeticError, NotImplementedError, RuntimeError, struct.error, zlib.error, EOFError, MemoryError),
)


class PictureError(TastemakerError):
    """A file that is no picture that can be used. The message says why, in half a sentence."""


def check_file(path: Path) -> tuple[int, int]:
    """Return (bytes, mtime_ns) of a file. Raises PictureError for what is no ordinary file of a picture's size."""
    try:
        found = path.stat()
    except OSError as e:
        raise PictureError(f"cannot be read ({e.strerror or e})") from e
    if not stat.S_ISREG(found.st_mode):
        raise PictureError("is no ordinary file")
    if not found.st_size:
        raise PictureError("is empty")
    if found.st_size > MAX_PICTURE_BYTES:
        raise PictureError(f"has {found.st_size:,} bytes, over the limit of {MAX_PICTURE_BYTES:,}")
    return found.st_size, found.st_mtime_ns


def check_size(width: int, height: int) -> None:
    """Raise PictureError for a picture outside the size and aspect-ratio limits."""
    if not (0 < width <= MAX_PICTURE_SIDE and 0 < height <= MAX_PICTURE_SIDE):
        raise PictureError(f"is {width} x {height} pixels; a side has 1 to {MAX_PICTURE_SIDE:,}")
    if width * height > MAX_PICTURE_PIXELS:
        raise PictureError(f"is {width} x {height} pixels, over the limit of {MAX_PICTURE_PIXELS:,}")
    if max(width, height) > MAX_PICTURE_RATIO * min(width, height):
        raise PictureError(f"is {width} x {height} pixels: over {MAX_PICTURE_RATIO} times as long as it is wide")


def open_file(path: Path) -> Image.Image:
    """Open without decoding; the caller closes it. Raises PictureError."""
    check_file(path)
    return _opened(path)


def open_bytes(data: bytes) -> Image.Image:
    """Open what a file holds without decoding; the caller closes it. Raises PictureError."""
    if not 0 < len(data) <= MAX_PICTURE_BYTES:
        raise PictureError(f"has {len(data):,} bytes; a picture has 1 to {MAX_PICTURE_BYTES:,}")
    return _opened(io.BytesIO(data))


def _opened(source: Path | BinaryIO) -> Image.Image:
    try:
        picture = Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError("is no PNG, JPEG, WebP or BMP, whatever its name") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"has more than {MAX_PICTURE_PIXELS:,} pixels") from None
    except _BROKEN as e:
        raise PictureError(_why(e)) from e
    try:
        check_size(*picture.size)
        if picture.format in ("PNG", "WEBP") and getattr(picture, "is_animated", False):
            raise PictureError(f"is an animation of {getattr(picture, 'n_frames', 'several')} pictures")
    except PictureError:
        picture.close()
        raise
    return picture


def _why(e: Exception) -> str:
    return f"is broken ({' '.join(str(e).split())[:120] or type(e).__name__})"


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """Return (H, W) after the orientation that EXIF asks for."""
    width, height = picture.size
    try:
        turned = picture.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except _BROKEN:
        turned = False
    return (width, height) if turned else (height, width)


def decode_file(path: Path, *, at_least: int = 0, keep_mode: bool = False) -> Image.Image:
    """Decode a file to upright 8-bit RGB, transparency dropped. Raises PictureError.

    `at_least` lets a JPEG be decoded at a half, a quarter or an eighth where no side gets smaller than that.
    `keep_mode` leaves a palette, transparency and two colours as they are stored: some rewards' own code makes RGB
    of them before resizing, some after (`PixelNetwork.rgb_first`), and the scores differ.
    """
    return _decoded(open_file(path), at_least, keep_mode)


def decode_bytes(data: bytes, *, at_least: int = 0, keep_mode: bool = False) -> Image.Image:
    """Decode what a file holds, as `decode_file`. Raises PictureError."""
    return _decoded(open_bytes(data), at_least, keep_mode)


def _decoded(opened: Image.Image, at_least: int, keep_mode: bool) -> Image.Image:
    with opened as picture:
        try:
            if at_least and picture.format in ("JPEG", "MPO"):
                picture.draft("RGB", (at_least, at_least))
            picture.load()
            shown = eight_bits(picture)
            if shown.mode in ("P", "PA") and not shown.getpalette():
                raise PictureError("is broken (its palette is missing)")
            rgb = shown.convert("RGB")  # also what finds a palette that is broken
            return _upright(shown if keep_mode else rgb)
        except _BROKEN as e:
            raise PictureError(_why(e)) from e


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as EXIF asks; EXIF that cannot be read asks for nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except _BROKEN:
        return picture


def eight_bits(picture: Image.Image) -> Image.Image:
    """Convert 16-bit greyscale by its high byte, where Pillow would clip; return every other picture as it is.

    A grey that stands for transparent is forgotten: what is below transparency is what is shown.
    """
    if not picture.mode.startswith("I"):
        return picture
    grey = np.asarray(picture).astype(np.int64)
    shown = Image.fromarray((grey.clip(0, 65535) >> 8).astype(np.uint8))
    shown.info = {name: value for name, value in picture.info.items() if name != "transparency"}
    return shown

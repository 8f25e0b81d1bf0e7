"""Images as tensors, as PIL pictures and as files: the conversions, and what makes a tensor a batch of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from ..core.errors import InputError
from .decode import eight_bits

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_threads(work: Callable[[_In], _Out], pictures: Iterable[_In]) -> list[_Out]:
    """Do `work` on each picture, on every core: Pillow works outside Python's lock. What it raises is raised."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(work, pictures))


def to_pil(image: torch.Tensor) -> Image.Image:
    """Convert one image (H, W, 3) in [0, 1] to 8-bit RGB, rounded to the nearest level."""
    array = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(array)


def check_images(images: torch.Tensor, name: str = "images") -> torch.Tensor:
    """Return images as a normal (B, H, W, 3) tensor. Raises InputError saying what is wrong with the input `name`."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise InputError(name, shape, "Images are one tensor of shape (batch, height, width, 3).")
    if 0 in images.shape:
        raise InputError(name, tuple(images.shape), "The batch is empty.")
    if images.shape[-1] != 3:
        raise InputError(name, tuple(images.shape), "Images need 3 channels (RGB); remove the alpha channel first.")
    if torch.isfinite(images.sum(dim=(1, 2, 3), dtype=torch.float32)).all():  # one pass, with nothing as large made
        return images
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        index = int(torch.nonzero(~finite)[0]) + 1
        raise InputError(name, f"image {index} of {len(images)}", "It holds NaN or infinite pixels.")
    return images


def open_picture(picture: Image.Image | Path | str) -> Image.Image:
    """Return a PIL picture of 8 bits a channel, read from its file where it is one. Raises InputError naming it."""
    if isinstance(picture, Image.Image):
        return eight_bits(picture)
    try:
        with Image.open(picture) as file:
            file.load()
            return eight_bits(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise InputError("pictures", str(picture), f"It cannot be read as a picture ({e}).") from e


def from_pil(picture: Image.Image) -> torch.Tensor:
    """Convert a PIL picture to an image (1, H, W, 3) in [0, 1], transparency dropped."""
    array = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0
    return torch.from_numpy(array)[None]

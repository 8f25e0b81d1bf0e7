"""Images to the pixels a reward model was trained on, bit-equal to the references' Pillow code."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from ...core.errors import InputError
from ...images.convert import in_threads
from ...images.limits import MAX_PICTURE_RATIO

Channels = tuple[float, float, float]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def crop_geometry(height: int, width: int, size: int, floor: bool = False) -> tuple[int, int, int, int]:
    """Return (new height, new width, top, left): short side to `size`, then the middle square.

    As torchvision's Resize and CenterCrop count it; with `floor` as transformers' image processors do,
    which differs by a pixel where what is cut off is odd. Raises InputError for a picture thinner than any: resized
    before it is cut, one of a single row would fill the memory.
    """
    short = min(height, width)
    if max(height, width) > MAX_PICTURE_RATIO * short:
        advice = f"A picture may be {MAX_PICTURE_RATIO} times as long as it is wide. Crop it."
        raise InputError("images", f"{width} x {height}", advice)
    new_width, new_height = int(size * width / short), int(size * height / short)
    high, wide = new_height - size, new_width - size
    top, left = (high // 2, wide // 2) if floor else (round(high / 2.0), round(wide / 2.0))
    return new_height, new_width, top, left


def resized_crop(picture: Image.Image, size: int, floor: bool = False) -> Image.Image:
    """Resize the short side to `size` by bicubic, then cut out the middle square (`crop_geometry`)."""
    new_height, new_width, top, left = crop_geometry(picture.height, picture.width, size, floor)
    if (new_width, new_height) != picture.size:
        picture = picture.resize((new_width, new_height), Image.Resampling.BICUBIC)
    return picture.crop((left, top, left + size, top + size))


def normalized(pixels: torch.Tensor, mean: Channels, std: Channels) -> torch.Tensor:
    """Standardize each channel: (x - mean) / std. Shape: (B, 3, S, S) in [0, 1] -> the same."""
    shift, scale = (rearrange(pixels.new_tensor(values), "c -> 1 c 1 1") for values in (mean, std))
    return (pixels - shift) / scale


def pil_pixels(
    pictures: list[Image.Image], size: int, mean: Channels, std: Channels, floor: bool = False
) -> torch.Tensor:
    """Resize, crop, make RGB and normalize B PIL images: float32 (B, 3, size, size).

    Like the reference, RGB comes after resizing, so transparency is dropped, not blended.
    """

    def prepared(picture: Image.Image) -> np.ndarray:
        return np.asarray(resized_crop(picture, size, floor).convert("RGB"), dtype=np.float32)

    array = np.stack(in_threads(prepared, pictures)) / 255.0
    return normalized(rearrange(torch.from_numpy(array), "b h w c -> b c h w"), mean, std)

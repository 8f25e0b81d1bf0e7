"""Pictures to the 299 x 299 that Inception sees. How that is done moves FID by several points, so it is named.

clean: Pillow's bicubic, antialiased, on each channel of the 8-bit picture as floats, not rounded again
    (Parmar et al. 2022, arXiv 2104.11222; the `clean` mode of their clean-fid).
legacy: TensorFlow 1's bilinear without antialiasing, pixel corners for centres, as the first FIDs were computed
    (and as torch-fidelity computes them).
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from PIL import Image


def resize_picture(picture: Image.Image, side: int, how: str) -> torch.Tensor:
    """Return an 8-bit RGB picture as float32 (3, side, side) from 0 to 255."""
    if how == "clean":
        return _clean(picture, side)
    pixels = rearrange(torch.from_numpy(np.asarray(picture, dtype=np.float32)), "h w c -> c h w")
    return legacy_bilinear(pixels, side)


def _clean(picture: Image.Image, side: int) -> torch.Tensor:
    planes = []
    for channel in picture.split():
        if channel.size != (side, side):
            channel = channel.convert("F").resize((side, side), Image.Resampling.BICUBIC)
        planes.append(np.asarray(channel, dtype=np.float32))
    return torch.from_numpy(np.stack(planes).clip(0, 255))


def legacy_bilinear(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Resize: pixel i of the result lies at i * old / new of the picture. (..., H, W) -> (..., side, side)."""
    height, width = pixels.shape[-2:]
    low_y, high_y, part_y = _neighbours(height, side)
    low_x, high_x, part_x = _neighbours(width, side)
    upper, lower = pixels[..., low_y, :], pixels[..., high_y, :]
    upper = upper[..., low_x] + (upper[..., high_x] - upper[..., low_x]) * part_x
    lower = lower[..., low_x] + (lower[..., high_x] - lower[..., low_x]) * part_x
    return upper + (lower - upper) * part_y[:, None]


def _neighbours(old: int, new: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return of each new pixel the old ones on both sides, and how far between them it lies. In float32, as there."""
    at = torch.arange(new, dtype=torch.float32) * torch.tensor(old / new, dtype=torch.float32)
    low = at.long()
    return low, (low + 1).clamp_max(old - 1), at - low

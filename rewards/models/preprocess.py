"""Images to the pixels a reward model was trained on: bit-equal to the references' Pillow code, or differentiable.

`pillow_crop` is written by hand because the libraries' resizing on a device is not Pillow's, which the references use:
torchvision's antialiased bicubic differs by one level of 255 in 0.24 to 0.35% of the values, this in none (images of
512 to 1024 pixels, `benchmarks/pixels.py`), so pixels are the same on every device. It is for GPUs alone: on a CPU it
takes 6 to 10 times as long as Pillow and is never called. Its time on a GPU has not been measured; Pillow instead would
take 14 to 43 ms of one busy core an image of these sizes, and bring it to the CPU.

Legend: B images, H W their size, S the network's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image

from ...core.errors import InputError
from ...images.convert import in_threads
from ...images.limits import MAX_PICTURE_RATIO

Channels = tuple[float, float, float]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_BITS = 22  # Pillow's fixed-point weights (its Resample.c: PRECISION_BITS)
_SUPPORT = 2.0  # of the bicubic kernel


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
    """Standardise each channel: (x - mean) / std. Shape: (B, 3, S, S) in [0, 1] -> the same."""
    shift, scale = (
        torch.tensor(values, dtype=pixels.dtype, device=pixels.device).view(1, -1, 1, 1) for values in (mean, std)
    )
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


# --- on the device ------------------------------------------------------------------------------


def _bicubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' cubic convolution kernel with a = -0.5, float64."""
    a, x = -0.5, x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@lru_cache(maxsize=32)
def pillow_weights(old: int, new: int) -> torch.Tensor:
    """Pillow's weights for resizing `old` pixels to `new`, times 2**22 and rounded: float64 (new, old).

    Every value is a whole number, and so is every sum of products with 8-bit pixels below 2**53.
    """
    scale = old / new
    wide = max(scale, 1.0)  # a smaller picture averages over more of the larger one
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    first = torch.clamp((centres - _SUPPORT * wide + 0.5).trunc(), min=0)
    last = torch.clamp((centres + _SUPPORT * wide + 0.5).trunc(), max=old)
    places = torch.arange(old, dtype=torch.float64)
    weights = _bicubic((places[None] - centres[:, None] + 0.5) * (1.0 / wide))
    weights = weights * ((places[None] >= first[:, None]) & (places[None] < last[:, None]))
    total = torch.zeros(new, dtype=torch.float64)
    for column in weights.T:  # one after the other, as Pillow adds them
        total = total + column
    weights = weights / total[:, None] * 2**_BITS
    return torch.sign(weights) * torch.floor(weights.abs() + 0.5)


def _pass(pixels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """One of Pillow's two passes along the last axis, rounded and clamped to 8 bits. (..., old) -> (..., new)."""
    total = pixels @ weights.T.to(pixels.device)
    return torch.floor((total + 2 ** (_BITS - 1)) / 2**_BITS).clamp(0, 255)


def pillow_crop(images: torch.Tensor, size: int, floor: bool = False) -> torch.Tensor:
    """Make of images what Pillow makes, without Pillow: 8-bit, short side to `size` by bicubic, middle square.

    Shape: (B, H, W, 3) in [0, 1] -> float32 (B, 3, S, S), whole numbers from 0 to 255. Only what the crop
    keeps is computed. Not for pictures that `passes_vary` names.
    """
    levels = images.detach().float().clamp(0, 1).mul(255).round().double()
    pixels = rearrange(levels, "b h w c -> b c h w")
    height, width = pixels.shape[2:]
    new_height, new_width, top, left = crop_geometry(height, width, size, floor)
    if new_width != width:
        pixels = _pass(pixels, pillow_weights(width, new_width)[left : left + size])
    else:
        pixels = pixels[..., left : left + size]
    if new_height != height:
        rows = pillow_weights(height, new_height)[top : top + size]
        pixels = _pass(pixels.transpose(2, 3), rows).transpose(2, 3)
    else:
        pixels = pixels[:, :, top : top + size]
    return pixels.float()


def passes_vary(height: int, width: int, size: int) -> bool:
    """Return whether Pillow's versions differ: tall images made smaller have their height resized first by 13.0.

    10.1 does not. Measured: both orders against both versions, 163 sizes. The last bit of a pixel depends on it.
    """
    return height > 2 * width and width > size


def soft_crop(images: torch.Tensor, size: int, floor: bool = False) -> torch.Tensor:
    """Crop alike with gradients: antialiased bicubic, nothing rounded. (B, H, W, 3) -> (B, 3, S, S) in [0, 1]."""
    pixels = rearrange(images, "b h w c -> b c h w")
    height, width = pixels.shape[2:]
    new_height, new_width, top, left = crop_geometry(height, width, size, floor)
    if (new_height, new_width) != (height, width):
        pixels = F.interpolate(pixels, (new_height, new_width), mode="bicubic", antialias=True, align_corners=False)
    return pixels[:, :, top : top + size, left : left + size].clamp(0, 1)


def soft_fit(images: torch.Tensor, size: int) -> torch.Tensor:
    """Fit the whole image into a square, black beside it, with gradients. (B, H, W, 3) -> (B, 3, S, S).

    As HPS v2's `ResizeMaxSize` does it (hpsv2 1.2.0, src/open_clip/transform.py) with a torchvision whose
    resizing of tensors is antialiased (0.17 and newer): floats, bicubic, not clamped.
    """
    pixels = rearrange(images, "b h w c -> b c h w")
    height, width = pixels.shape[2:]
    scale = size / float(max(height, width))
    if scale == 1.0:
        # the reference leaves such pictures as they are, and fails on those that are not square
        new_height, new_width = height, width
    else:
        new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = F.interpolate(pixels, (new_height, new_width), mode="bicubic", antialias=True, align_corners=False)
    high, wide = size - new_height, size - new_width
    return F.pad(pixels, (wide // 2, wide - wide // 2, high // 2, high - high // 2))

"""How small a picture's JPEG is, or how large (Black et al. 2023, arXiv 2305.13301, section 5.1).

As DDPO's authors measure it (kvablack/ddpo-pytorch, rewards.py): 8-bit RGB, Pillow, quality 95, kB of
1,000 bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...images.convert import to_pil

if TYPE_CHECKING:
    from PIL import Image

QUALITY = 95


def kilobytes(picture: Image.Image) -> float:
    """Size of a picture's JPEG in thousands of bytes, transparency dropped."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=QUALITY)
    return buffer.tell() / 1000


def picture_kilobytes(pictures: Sequence[Image.Image], prompts: Sequence[str]) -> torch.Tensor:
    """`kilobytes` of each of B pictures: (B,). The prompts are not read."""
    return torch.tensor([kilobytes(picture) for picture in pictures])


def image_kilobytes(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    """`kilobytes` of images (B, H, W, 3) in [0, 1]: (B,)."""
    return picture_kilobytes([to_pil(image) for image in images], prompts)

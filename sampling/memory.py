"""Rough working memory of a model's parts; fitting batches into it is `core/memory.py`."""

from __future__ import annotations

import torch

from ..core.errors import OutOfMemoryError
from ..core.free_memory import free_bytes
from ..loaders.model import DiffusionModel

# Live activations at the widest place, in tensors of that place's size.
_UNET_TENSORS, _VAE_TENSORS = 6, 8


def unet_bytes(model: DiffusionModel, height: int, width: int, rows: int) -> int:
    """Rough working memory of one UNet call on `rows` rows, weights not counted."""
    area = (height // model.downscale) * (width // model.downscale)
    return rows * area * max(model.unet.config.block_out_channels) * _UNET_TENSORS * model.dtype.itemsize


def vae_bytes(model: DiffusionModel, height: int, width: int, rows: int) -> int:
    """Rough working memory of decoding `rows` pictures, weights not counted."""
    if model.vae is None:
        return 0
    widest = 2 * model.vae.config.block_out_channels[0]
    return rows * height * width * widest * _VAE_TENSORS * model.vae.dtype.itemsize


def check_room(count: int, size: tuple[int, int]) -> None:
    """Raises OutOfMemoryError where so many finished pictures, (H, W) each, take more than the computer has free."""
    needed, free = 12 * count * size[0] * size[1], free_bytes(torch.device("cpu"))
    if free is not None and needed > free:
        raise OutOfMemoryError(
            f"{count:,} pictures of {size[1]} x {size[0]} take {needed / 2**30:,.1f} GB of the computer's memory and "
            f"{free / 2**30:.1f} GB are free. Sample fewer at once, or smaller ones."
        )

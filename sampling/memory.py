"""Rough working memory of a model's parts; fitting batches into it is `loaders/memory.py`."""

from __future__ import annotations

from ..loaders.memory import fitting, in_parts, is_out_of_memory
from ..loaders.model import DiffusionModel

__all__ = ["fitting", "in_parts", "is_out_of_memory", "unet_bytes", "vae_bytes"]

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

"""The size a model was trained at, where its name or notes know it better than its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .architecture import ARCHITECTURES, Architecture
from .catalogue import known_model

if TYPE_CHECKING:
    from torch import nn


def known_size(name: str, architecture: Architecture) -> tuple[int, int] | None:
    """Return (height, width) in pixels that the catalogue has for a latent model of this name and kind, or None.

    The UNet configs of fine-tunes often keep the size of the model they began from (Playground v2 at 512 and 256
    pixels, single files of sdxl-turbo), and nothing else in the files says it.
    """
    known = known_model(name)
    pixels = ARCHITECTURES[architecture].latent_scale is None
    if known is None or known.ships or known.architecture != architecture or pixels:
        return None
    return known.native_size, known.native_size


def apply_native_size(modules: Mapping[str, nn.Module], size: tuple[int, int]) -> bool:
    """Write a (height, width) in pixels into the UNet's config as its own; return whether that changed it.

    A size that this UNet and VAE cannot make is left alone.
    """
    unet, vae = modules["unet"], modules["vae"]
    downscale = 2 ** (len(vae.config.block_out_channels) - 1)
    multiple = downscale * 2 ** (len(unet.config.block_out_channels) - 1)
    if any(side % multiple for side in size):
        return False
    height, width = (side // downscale for side in size)
    wanted = height if height == width else [height, width]
    if unet.config.sample_size == wanted:
        return False
    unet.register_to_config(sample_size=wanted)
    return True

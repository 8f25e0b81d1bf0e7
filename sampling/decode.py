"""Latents to pictures and back, through the model's VAE."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import nn

from ..loaders.errors import NonFiniteError
from ..loaders.model import DiffusionModel
from .memory import fitting, in_parts, vae_bytes

TILE, OVERLAP = 64, 16  # in latents


def to_images(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] to float32 (B, H, W, 3) in [0, 1] on the CPU."""
    return (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous().cpu()


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """float32 (B, H, W, 3) in [0, 1] to (B, 3, H, W) in [-1, 1]."""
    return images.movedim(-1, 1).float() * 2 - 1


@torch.no_grad()
def decode(model: DiffusionModel, latents: torch.Tensor, *, tiled: bool = False) -> torch.Tensor:
    """Pictures of what was denoised: float32 (B, H, W, 3) in [0, 1] on the CPU.

    Shape: latents (B, C, h, w), scaled as the UNet sees them. Models that denoise pixels have nothing
    to decode. The VAE runs in the dtype it was loaded in (a VAE that overflows float16 is not loaded in
    it); should a picture come out as NaN it is decoded once more in float32.
    Raises NonFiniteError naming the model, OutOfMemoryError when one picture does not fit.
    """
    if model.vae is None:
        return to_images(latents)
    one = _decode_tiles if tiled else _decode_whole
    height, width = (n * model.downscale for n in latents.shape[-2:])
    each = vae_bytes(model, TILE * model.downscale, TILE * model.downscale, 1) if tiled else None
    size = fitting(each or vae_bytes(model, height, width, 1), len(latents), model.vae.device)

    def work(rows: slice) -> torch.Tensor:
        pixels = one(model.vae, latents[rows] / model.latent_scale)
        if not torch.isfinite(pixels).all() and model.vae.dtype != torch.float32:
            pixels = _in_float32(model.vae, one, latents[rows] / model.latent_scale)
        if not torch.isfinite(pixels).all():
            raise NonFiniteError(f"The VAE of {model.name} made NaN or infinite pixels, in float32 too.")
        return to_images(pixels)

    advice = "" if tiled else " (switch vae_tiling on)"
    return torch.cat(
        list(in_parts(len(latents), size, work, what="decoding", each=f"one picture of {width} x {height}{advice}"))
    )


def _decode_whole(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    return vae.decode(latents.to(vae.device, vae.dtype)).sample


def _in_float32(vae: nn.Module, one, latents: torch.Tensor) -> torch.Tensor:
    dtype = vae.dtype
    vae.to(torch.float32)
    try:
        return one(vae, latents)
    finally:
        vae.to(dtype)


def _decode_tiles(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """Decode overlapping tiles and blend them with linear ramps: (B, 3, H, W) float32 on the CPU.

    Memory is that of one tile. The result differs a little from decoding whole, since the VAE's
    attention and normalisation then see a tile only.
    """
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    batch, _, height, width = latents.shape
    pixels = torch.zeros(batch, 3, height * scale, width * scale)
    weights = torch.zeros(1, 1, height * scale, width * scale)
    for top, left in product(_starts(height), _starts(width)):
        tile = latents[:, :, top : top + TILE, left : left + TILE]
        part = _decode_whole(vae, tile).float().cpu()
        ramp = _ramp(part.shape[-2], scale)[:, None] * _ramp(part.shape[-1], scale)[None]
        rows = slice(top * scale, top * scale + part.shape[-2])
        columns = slice(left * scale, left * scale + part.shape[-1])
        pixels[:, :, rows, columns] += part * ramp
        weights[:, :, rows, columns] += ramp
    return pixels / weights


def _starts(length: int) -> Iterator[int]:
    """Where tiles begin so that they cover `length` and overlap; the last ends at the edge."""
    if length <= TILE:
        return iter([0])
    return iter([*range(0, length - TILE, TILE - OVERLAP), length - TILE])


def _ramp(length: int, scale: int) -> torch.Tensor:
    """Weights that rise over the overlap at both ends, never 0."""
    reach = min(OVERLAP * scale, length)
    distance = torch.arange(length) + 0.5
    return (torch.minimum(distance, length - distance) / reach).clamp(max=1.0)


@torch.no_grad()
def encode_images(model: DiffusionModel, images: torch.Tensor) -> torch.Tensor:
    """Pictures to latents as the UNet sees them: (B, H, W, 3) in [0, 1] to float32 (B, C, h, w), CPU.

    The mean of the VAE's distribution, so that it does not depend on chance. Models that denoise
    pixels take the pixels.
    """
    pixels = to_pixels(images)
    if model.vae is None:
        return pixels
    vae, (height, width) = model.vae, pixels.shape[-2:]
    size = fitting(vae_bytes(model, height, width, 1), len(pixels), vae.device)

    def work(rows: slice) -> torch.Tensor:
        distribution = vae.encode(pixels[rows].to(vae.device, vae.dtype)).latent_dist
        return distribution.mode().float().cpu() * model.latent_scale

    parts = list(in_parts(len(pixels), size, work, what="encoding", each=f"one picture of {width} x {height}"))
    latents = torch.cat(parts)
    if not torch.isfinite(latents).all():
        raise NonFiniteError(f"The VAE of {model.name} made NaN from the images in {vae.dtype}: use float32.")
    return latents

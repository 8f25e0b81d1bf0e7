"""Latents to pictures and back, through the model's VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import nn

from ..core.errors import NonFiniteError
from ..core.memory import fitting, in_parts
from ..loaders.model import DiffusionModel
from .memory import vae_bytes

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
    size = fitting(picture_bytes(model, height, width, tiled=tiled), len(latents), model.vae.device)

    def work(rows: slice) -> torch.Tensor:
        pixels = one(model.vae, latents[rows] / model.latent_scale)
        if not torch.isfinite(pixels).all() and model.vae.dtype != torch.float32:
            pixels = _in_float32(model.vae, one, latents[rows] / model.latent_scale)
        if not torch.isfinite(pixels).all():
            raise NonFiniteError(f"The VAE of {model.name} made NaN or infinite pixels, in float32 too.")
        return to_images(pixels)

    each = _one_picture(height, width, tiled)
    return torch.cat(list(in_parts(len(latents), size, work, what="decoding", each=each)))


def picture_bytes(model: DiffusionModel, height: int, width: int, *, tiled: bool) -> int:
    """Rough working memory of one picture, or of one tile of it, in the VAE."""
    most = TILE * model.downscale if tiled else max(height, width)
    return vae_bytes(model, min(height, most), min(width, most), 1)


def _one_picture(height: int, width: int, tiled: bool) -> str:
    return f"one picture of {width} x {height}{'' if tiled else ' (switch vae_tiling on)'}"


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
    """Latents to pixels in tiles: (B, C, h, w) to (B, 3, H, W) float32 on the CPU."""
    return _in_tiles(lambda tile: _decode_whole(vae, tile), latents, unit=1, out_unit=_scale(vae))


def _scale(vae: nn.Module) -> int:
    """Pixels per latent along one side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def _in_tiles(
    work: Callable[[torch.Tensor], torch.Tensor], whole: torch.Tensor, *, unit: int, out_unit: int
) -> torch.Tensor:
    """Run `work` on overlapping tiles and blend them with linear ramps: float32 on the CPU.

    A latent is `unit` entries of a side of `whole` (B, C, h, w), and `out_unit` of the result. Memory is that of one
    tile. The result differs a little from that of the whole, since the VAE's attention and normalisation then see a
    tile only.
    """
    height, width = (n // unit for n in whole.shape[-2:])
    total, weights = None, torch.zeros(1, 1, height * out_unit, width * out_unit)
    for top, left in product(_starts(height), _starts(width)):
        part = work(_window(whole, top, left, unit)).float().cpu()
        ramp = _ramp(part.shape[-2], out_unit)[:, None] * _ramp(part.shape[-1], out_unit)[None]
        if total is None:
            total = torch.zeros(*part.shape[:2], *weights.shape[2:])
        _window(total, top, left, out_unit).add_(part * ramp)
        _window(weights, top, left, out_unit).add_(ramp)
    return total / weights


def _window(whole: torch.Tensor, top: int, left: int, unit: int) -> torch.Tensor:
    """The tile of `whole` that begins at a latent, a view."""
    return whole[..., top * unit : (top + TILE) * unit, left * unit : (left + TILE) * unit]


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
def encode_images(model: DiffusionModel, images: torch.Tensor, *, tiled: bool = False) -> torch.Tensor:
    """Pictures to latents as the UNet sees them: (B, H, W, 3) in [0, 1] to float32 (B, C, h, w), CPU.

    The mean of the VAE's distribution, so that it does not depend on chance. Models that denoise
    pixels take the pixels. Raises as `decode`.
    """
    pixels = to_pixels(images)
    if model.vae is None:
        return pixels
    vae, (height, width) = model.vae, pixels.shape[-2:]
    size = fitting(picture_bytes(model, height, width, tiled=tiled), len(pixels), vae.device)
    one = _encode_tiles if tiled else _encode_whole

    def work(rows: slice) -> torch.Tensor:
        return one(vae, pixels[rows]).float().cpu() * model.latent_scale

    each = _one_picture(height, width, tiled)
    latents = torch.cat(list(in_parts(len(pixels), size, work, what="encoding", each=each)))
    if not torch.isfinite(latents).all():
        raise NonFiniteError(f"The VAE of {model.name} made NaN from the images in {vae.dtype}: use float32.")
    return latents


def _encode_whole(vae: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()


def _encode_tiles(vae: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels to latents in tiles: (B, 3, H, W) to (B, C, h, w) float32 on the CPU."""
    return _in_tiles(lambda tile: _encode_whole(vae, tile), pixels, unit=_scale(vae), out_unit=1)

"""Latents to pictures and back, through the model's VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import torch
from einops import rearrange
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..core.errors import NonFiniteError
from ..core.memory import fitting, in_parts
from ..loaders.model import DiffusionModel

TILE, OVERLAP = 64, 16  # in latents
_MOST_DECODED = 32  # pictures at once on a GPU
_MOST_ELEMENTS = 2**31 - 1  # of a tensor: beyond them some kernels give zeros (pytorch issue 141831)
_LIVE_TENSORS = 8  # activations alive at the VAE's widest place, in tensors of that place's size


def to_images(pixels: torch.Tensor) -> torch.Tensor:
    """Turn (B, 3, H, W) in [-1, 1] into float32 (B, H, W, 3) in [0, 1] on the CPU."""
    return rearrange((pixels.float() / 2 + 0.5).clamp(0, 1), "b c h w -> b h w c").contiguous().cpu()


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """Turn float32 (B, H, W, 3) in [0, 1] into (B, 3, H, W) in [-1, 1]."""
    return rearrange(images, "b h w c -> b c h w").float() * 2 - 1


@torch.no_grad()
def decode(model: DiffusionModel, latents: torch.Tensor, *, tiled: bool = False) -> torch.Tensor:
    """Decode what was denoised to pictures: float32 (B, H, W, 3) in [0, 1] on the CPU.

    Shape: latents (B, C, h, w), scaled as the UNet sees them. Models that denoise pixels have nothing
    to decode. The VAE runs in the dtype it was loaded in (a VAE that overflows float16 is not loaded in
    it); should a picture come out as NaN it is decoded once more in float32.
    Raises NonFiniteError naming the model, OutOfMemoryError when one picture does not fit.
    """
    vae = model.vae
    if vae is None:
        return to_images(latents)
    one = decode_tiles if tiled else _decode_whole
    height, width = (n * model.downscale for n in latents.shape[-2:])
    size = _at_once(model, height, width, len(latents), tiled)

    def work(rows: slice) -> torch.Tensor:
        pixels = one(vae, latents[rows] / model.latent_scale)
        if not torch.isfinite(pixels).all() and vae.dtype != torch.float32:
            pixels = _in_float32(vae, one, latents[rows] / model.latent_scale)
        if not torch.isfinite(pixels).all():
            raise NonFiniteError(f"The VAE of {model.name} made NaN or infinite pixels, in float32 too.")
        return to_images(pixels)

    each = _one_picture(height, width, tiled)
    return torch.cat(list(in_parts(len(latents), size, work, what="decoding", each=each)))


def decode_with_gradient(model: DiffusionModel, latents: torch.Tensor) -> torch.Tensor:
    """Decode with gradients that flow to the latents: float32 (B, H, W, 3) in [0, 1], where the VAE computes.

    Shape: latents (B, C, h, w), scaled as the UNet sees them. The VAE's blocks are run again for the backward pass
    (gradient checkpointing), so that memory is that of one block and of what lies between them.
    """
    vae = model.vae
    if vae is None:
        pixels = latents
    else:
        with _recomputed(vae.decoder):
            pixels = _decode_whole(vae, latents / model.latent_scale)
    return rearrange((pixels.float() / 2 + 0.5).clamp(0, 1), "b c h w -> b h w c")


@contextmanager
def _recomputed(decoder: Any) -> Iterator[None]:
    """Let a decoder's blocks keep nothing for the backward pass but their inputs, for a `with` block."""
    kept = decoder.gradient_checkpointing, getattr(decoder, "_gradient_checkpointing_func", None)
    decoder.gradient_checkpointing = True
    decoder._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        decoder.gradient_checkpointing, decoder._gradient_checkpointing_func = kept


def _at_once(model: DiffusionModel, height: int, width: int, count: int, tiled: bool) -> int:
    """Return how many pictures the VAE takes together: as fit, and no tensor with more elements than kernels count."""
    vae = model.vae
    assert vae is not None
    sides = [min(n, TILE * model.downscale) if tiled else n for n in (height, width)]
    widest = 2 * vae.config.block_out_channels[0] * sides[0] * sides[1]
    most = max(1, min(_MOST_DECODED, _MOST_ELEMENTS // widest))
    return fitting(picture_bytes(model, height, width, tiled=tiled), count, vae.device, most)


def picture_bytes(model: DiffusionModel, height: int, width: int, *, tiled: bool) -> int:
    """Estimate the working memory of one picture, or of one tile of it, in the VAE."""
    most = TILE * model.downscale if tiled else max(height, width)
    return vae_bytes(model, min(height, most), min(width, most), 1)


def vae_bytes(model: DiffusionModel, height: int, width: int, rows: int) -> int:
    """Estimate the working memory of decoding `rows` pictures, weights not counted."""
    if model.vae is None:
        return 0
    widest = 2 * model.vae.config.block_out_channels[0]
    return rows * height * width * widest * _LIVE_TENSORS * model.vae.dtype.itemsize


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


def decode_tiles(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents in tiles: (B, C, h, w) to (B, 3, H, W) float32 on the CPU."""
    return _in_tiles(lambda tile: _decode_whole(vae, tile), latents, unit=1, out_unit=_scale(vae))


def _scale(vae: nn.Module) -> int:
    """Return the pixels per latent along one side."""
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
    """Return the tile of `whole` that begins at a latent, a view."""
    return whole[..., top * unit : (top + TILE) * unit, left * unit : (left + TILE) * unit]


def _starts(length: int) -> Iterator[int]:
    """Return where tiles begin so that they cover `length` and overlap; the last ends at the edge."""
    if length <= TILE:
        return iter([0])
    return iter([*range(0, length - TILE, TILE - OVERLAP), length - TILE])


def _ramp(length: int, scale: int) -> torch.Tensor:
    """Return weights that rise over the overlap at both ends, never 0."""
    reach = min(OVERLAP * scale, length)
    distance = torch.arange(length) + 0.5
    return (torch.minimum(distance, length - distance) / reach).clamp(max=1.0)


@torch.no_grad()
def encode_images(model: DiffusionModel, images: torch.Tensor, *, tiled: bool = False) -> torch.Tensor:
    """Encode pictures to latents as the UNet sees them: (B, H, W, 3) in [0, 1] to float32 (B, C, h, w), CPU.

    The mean of the VAE's distribution, so that nothing is random. Models that denoise
    pixels take the pixels. Raises as `decode`.
    """
    pixels = to_pixels(images)
    if model.vae is None:
        return pixels
    vae, (height, width) = model.vae, pixels.shape[-2:]
    size = _at_once(model, height, width, len(pixels), tiled)
    one = encode_tiles if tiled else _encode_whole

    def work(rows: slice) -> torch.Tensor:
        return one(vae, pixels[rows]).float().cpu() * model.latent_scale

    each = _one_picture(height, width, tiled)
    latents = torch.cat(list(in_parts(len(pixels), size, work, what="encoding", each=each)))
    if not torch.isfinite(latents).all():
        raise NonFiniteError(f"The VAE of {model.name} made NaN from the images in {vae.dtype}: use float32.")
    return latents


def _encode_whole(vae: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()


def encode_tiles(vae: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Encode pixels in tiles: (B, 3, H, W) to (B, C, h, w) float32 on the CPU."""
    return _in_tiles(lambda tile: _encode_whole(vae, tile), pixels, unit=_scale(vae), out_unit=1)

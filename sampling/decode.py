"""Latents to pictures."""

from __future__ import annotations

import torch

from ..loaders.errors import NonFiniteError
from ..loaders.model import DiffusionModel


def to_images(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] to float32 (B, H, W, 3) in [0, 1] on the CPU."""
    return (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous().cpu()


@torch.no_grad()
def decode(model: DiffusionModel, latents: torch.Tensor, *, chunk: int = 8) -> torch.Tensor:
    """Pictures of what was denoised: float32 (B, H, W, 3) in [0, 1] on the CPU.

    Shape: latents (B, C, h, w). Models that denoise pixels have nothing to decode.
    A VAE that overflows float16 (`force_upcast`) decodes in float32.
    Raises NonFiniteError naming the model when a picture comes out as NaN.
    """
    if model.vae is None:
        return to_images(latents)
    vae = model.vae
    half = model.dtype == torch.float16 and vae.config.force_upcast
    dtype = torch.float32 if half else model.dtype
    if half:
        vae.to(torch.float32)
    try:
        pictures = []
        for part in latents.split(chunk):
            scaled = (part / model.latent_scale).to(vae.device, dtype)
            pictures.append(vae.decode(scaled).sample)
    finally:
        if half:
            vae.to(model.dtype)
    pixels = torch.cat(pictures)
    if not torch.isfinite(pixels).all():
        raise NonFiniteError(
            f"The VAE of {model.name} made NaN or infinite pixels in {dtype}. Load the model in float32."
        )
    return to_images(pixels)


def rough_preview(latents: torch.Tensor) -> torch.Tensor:
    """Grey pictures of large latents without the VAE, for a live preview: (B, h, w, 3) in [0, 1].

    The first SDXL latent channel is close to brightness; it is stretched to the full range.
    """
    light = latents[:, 0].float()  # (B, h, w)
    low, high = light.amin((1, 2), keepdim=True), light.amax((1, 2), keepdim=True)
    grey = (light - low) / (high - low).clamp(min=1e-6)
    return grey[..., None].expand(-1, -1, -1, 3).cpu()

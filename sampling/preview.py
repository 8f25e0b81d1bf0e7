"""Rough pictures of latents without the VAE, for a live preview."""

from __future__ import annotations

import torch

# A linear guess at the colours of SDXL's four latent channels, in 0-255 (T. A. Vass, "Explaining the
# SDXL latent space", 2023): brightness, cyan to red, lime to purple, pattern.
_SDXL_RGB = ((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0))
_SDXL_BIAS = (150.0, 140.0, 130.0)


def rough_preview(latents: torch.Tensor) -> torch.Tensor:
    """Pictures at the latents' size: (B, C, h, w) to float32 (B, h, w, 3) in [0, 1] on the CPU.

    Four channels are read as SDXL's; of others the first is taken for brightness.
    """
    latents = latents.float().cpu()
    if latents.shape[1] == len(_SDXL_RGB):
        colours = torch.einsum("bchw,cr->bhwr", latents, torch.tensor(_SDXL_RGB)) + torch.tensor(_SDXL_BIAS)
        return (colours / 255).clamp(0, 1)
    light = latents[:, 0]  # (B, h, w)
    low, high = light.amin((1, 2), keepdim=True), light.amax((1, 2), keepdim=True)
    grey = (light - low) / (high - low).clamp(min=1e-6)
    return grey[..., None].expand(-1, -1, -1, 3).contiguous()

"""What the user sees of a batch while it is sampled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange

from ..loaders.model import DiffusionModel
from .decode import decode

if TYPE_CHECKING:
    from PIL import Image

SIDE = 512  # of the picture, in pixels
_SHOWN = 16  # images of a batch
_DECODED_SIDE = 128  # up to here the VAE itself is fast enough
# A linear guess at the colours of SDXL's four latent channels, in 0-255 (T. A. Vass, "Explaining the
# SDXL latent space", 2023): brightness, cyan to red, lime to purple, pattern.
_SDXL_RGB = ((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0))
_SDXL_BIAS = (150.0, 140.0, 130.0)


def preview_picture(model: DiffusionModel, x0: torch.Tensor) -> Image.Image:
    """Draw the predicted clean samples x0 (B, C, h, w) of a model as one grid of the first 16.

    Small ones are decoded, large ones shown roughly. Pixels need no decoding, whatever their number.
    """
    from PIL import Image

    x0 = x0[:_SHOWN]
    vae = model.vae
    placed = vae is None or next(vae.parameters()).device == x0.device  # a host may keep it elsewhere while sampling
    whole = vae is None or (placed and x0.shape[-1] * model.downscale <= _DECODED_SIDE)
    images = decode(model, x0) if whole else rough_preview(x0)
    columns = math.ceil(math.sqrt(len(images)))
    filled = F.pad(images, (0, 0, 0, 0, 0, 0, 0, -len(images) % columns))  # black where the last row is short
    grid = rearrange(filled, "(r c) h w k -> (r h) (c w) k", c=columns)
    picture = Image.fromarray(grid.mul(255).round().to(torch.uint8).numpy())
    scale = max(1, SIDE // max(picture.size))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


def rough_preview(latents: torch.Tensor) -> torch.Tensor:
    """Guess pictures at the latents' size without the VAE: (B, C, h, w) to float32 (B, h, w, 3) in [0, 1], CPU.

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

"""Named attributes of a picture that a program can compute and a person can read. Differentiable, whole batches.

Legend: B pictures, H W their size. What is called warm is red over blue, as in photography; colourfulness and contrast
are standard deviations and means of pixels (Datta et al. 2006, "Studying aesthetics in photographic images").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

SIDE = 64  # pictures are looked at this small, so that their size in pixels does not count

# name -> what a person with more of it likes, and with less of it
ATTRIBUTES: dict[str, tuple[str, str]] = {
    "brightness": ("brighter", "darker"),
    "warmth": ("warmer", "cooler"),
    "greenness": ("greener", "more magenta"),
    "contrast": ("higher contrast", "lower contrast"),
    "saturation": ("more saturated", "more muted"),
    "sharpness": ("crisper", "softer"),
    "busyness": ("busier", "emptier"),
    "centredness": ("more centred", "more off-centre"),
    "height": ("subject higher up", "subject lower down"),
    "leftness": ("subject further left", "subject further right"),
}


def attributes(images: torch.Tensor) -> torch.Tensor:
    """Compute the attributes of pictures, in the order of `ATTRIBUTES`. Shape: (B, H, W, 3) in [0, 1] -> (B, 10).

    Gradients reach the images where they are enabled.
    """
    pixels = rearrange(images.float(), "b h w c -> b c h w")
    pixels = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    red, green, blue = pixels.unbind(1)
    light = 0.299 * red + 0.587 * green + 0.114 * blue  # (B, H, W)
    flat = light.flatten(1)
    down, right = light.diff(dim=1)[:, :, :-1], light.diff(dim=2)[:, :-1]
    edges = torch.sqrt(down**2 + right**2 + 1e-8)
    mean_colour = pixels.mean((2, 3), keepdim=True)
    stands_out = ((pixels - mean_colour) ** 2).sum(1) + 1e-6  # (B, H, W): where the subject is
    share = stands_out / stands_out.sum((1, 2), keepdim=True)
    line = torch.linspace(-1, 1, SIDE, device=pixels.device)
    y, x = (share.sum(2) * line).sum(1), (share.sum(1) * line).sum(1)
    saturation = pixels.amax(1) - pixels.amin(1)
    return torch.stack(
        [
            flat.mean(1),
            (red - blue).mean((1, 2)),
            (green - 0.5 * (red + blue)).mean((1, 2)),
            torch.sqrt(flat.var(1) + 1e-8),
            saturation.mean((1, 2)),
            torch.log(edges.flatten(1).pow(2).mean(1) + 1e-6),
            torch.sigmoid((edges - 0.04) / 0.01).mean((1, 2)),
            -torch.sqrt(y**2 + x**2 + 1e-6),
            -y,
            -x,
        ],
        dim=1,
    )

"""How small an image's JPEG is, or how large: two rewards (Black et al. 2023, arXiv 2305.13301, section 5.1).

As DDPO's authors measure it (kvablack/ddpo-pytorch, rewards.py): 8-bit RGB, Pillow, quality 95, kB of
1,000 bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..known import KnownReward

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

QUALITY = 95


def kilobytes(picture: Image.Image) -> float:
    """Return the size of an image's JPEG in thousands of bytes, transparency dropped."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=QUALITY)
    return buffer.tell() / 1000


@dataclass(frozen=True)
class JpegSize:
    """`sign` times `kilobytes`: a reward's `Scorer` without a network. Prompts are not read."""

    sign: int
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    settings: tuple[str, ...] = (f"Pillow quality {QUALITY}",)
    gradient_score: None = None
    overflow: None = None
    embed: None = None

    def picture_score(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> torch.Tensor:
        """Score B PIL images: (B,)."""
        import torch

        return self.sign * torch.tensor([kilobytes(picture) for picture in pictures])

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Score images (B, H, W, 3) in [0, 1]: (B,)."""
        from ...images.convert import to_pil

        return self.picture_score([to_pil(image) for image in images], prompts)


COMPRESSIBILITY = KnownReward(
    name="jpeg-compressibility",
    build=lambda paths, dtype: JpegSize(-1),
    needs_prompt=False,
    meaning="Minus the kB of its JPEG at quality 95: small files win.",
    source="Black et al. 2023, arXiv 2305.13301.",
)
INCOMPRESSIBILITY = KnownReward(
    name="jpeg-incompressibility",
    build=lambda paths, dtype: JpegSize(1),
    needs_prompt=False,
    meaning="The kB of its JPEG at quality 95: large files win.",
    source="Black et al. 2023, arXiv 2305.13301.",
)

"""A small residual network and an MLP that score a picture, without a text.

He et al. 2016 (arXiv 1603.05027), activations before the convolutions; GroupNorm and SiLU, so that a picture's score
does not depend on its batch and is smooth in every pixel. Legend: B pictures, C channels, H W their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

SIDE = 64  # pixels
_GROUPS = 8


class Block(nn.Module):
    """Two convolutions beside a shortcut; halves the size. Shape: (B, C, H, W) -> (B, C', H / 2, W / 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(_GROUPS, before), nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(_GROUPS, after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(F.avg_pool2d(x, 2)) + self.conv2(F.silu(self.norm2(inside)))


class ResNetScore(nn.Module):
    """An image tower whose last map keeps places, and an MLP on it."""

    def __init__(self, widths: Sequence[int], embedding: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, stride=2)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        side = SIDE // 2 ** len(widths)
        self.norm = nn.GroupNorm(_GROUPS, widths[-1])
        self.embedding = nn.Linear(widths[-1] * side * side, embedding)
        self.mlp = nn.Sequential(
            *(nn.Linear(embedding, 64), nn.SiLU()),
            *(nn.Linear(64, 16), nn.SiLU(), nn.Linear(16, 1)),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Score normalised pixels. Shape: (B, 3, 64, 64) -> (B,) float32."""
        features = self.blocks(self.stem(pixels.to(self.stem.weight.dtype)))
        embedded = F.silu(self.embedding(F.silu(self.norm(features)).flatten(1)))
        return self.mlp(embedded).squeeze(-1).float()

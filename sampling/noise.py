"""Noise from seeds: image i depends on its own seed alone, drawn on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class ImageNoise:
    """One random stream for each image of a batch.

    The same seed gives the same noise at any place in a batch of any size, on any device.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = shape

    def draw(self, device: torch.device) -> torch.Tensor:
        """The next noise of every image: float32 (B, C, H, W)."""
        parts = [torch.randn((1, *self._shape), generator=g) for g in self._generators]
        return torch.cat(parts).to(device)

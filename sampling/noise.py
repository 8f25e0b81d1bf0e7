"""Noise from seeds: image i depends on its own seed alone, drawn on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class ImageNoise:
    """One random stream for each image of a batch.

    The same seed gives the same noise at any place in a batch of any size, on any device. `states`
    lets a stream go on where another object left it.
    """

    def __init__(
        self, seeds: Sequence[int], shape: tuple[int, int, int], states: Sequence[torch.Tensor] | None = None
    ) -> None:
        self.seeds, self.shape = tuple(seeds), shape
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        for generator, state in zip(self.generators, states or (), strict=False):
            generator.set_state(state)

    def draw(self, device: torch.device) -> torch.Tensor:
        """The next noise of every image: float32 (B, C, H, W)."""
        parts = [torch.randn((1, *self.shape), generator=g) for g in self.generators]
        return to_device(torch.cat(parts), device)

    def states(self) -> list[torch.Tensor]:
        """Where each image's stream stands."""
        return [generator.get_state() for generator in self.generators]


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU where the network runs. On CUDA through pinned memory, or the host would wait for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

"""A moving average of the weights (Polyak & Juditsky 1992), which is steadier than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


def averaging_rate(decay: float, updates: int) -> float:
    """Return the decay to use at update n, from 1 on: min(decay, (1 + n) / (10 + n)), so that it starts quickly."""
    return min(decay, (1 + updates) / (10 + updates))


class WeightAverage:
    """Keep averages = rate * averages + (1 - rate) * weights, after each update; float32 whatever the weights are."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], decay: float) -> None:
        self._decay = decay
        self.averages = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, torch.Tensor], updates: int) -> None:
        rate = averaging_rate(self._decay, updates)
        for name, p in parameters.items():
            average = self.averages[name] = self.averages[name].to(p.device)
            average.lerp_(p.detach().float(), 1 - rate)

    @contextmanager
    def in_place_of(self, parameters: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Put the averages into the parameters for the length of the block."""
        own = {name: p.data for name, p in parameters.items()}
        try:
            for name, p in parameters.items():
                p.data = self.averages[name].to(p.device, p.dtype)
            yield
        finally:
            for name, p in parameters.items():
                p.data = own[name]

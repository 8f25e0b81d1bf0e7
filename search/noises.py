"""Changes of a noise that leave it noise. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Recipe(NamedTuple):
    """How a first noise is made of seeds alone: that of `seed`, then changed by each (seed, reach) in turn."""

    seed: int
    changes: tuple[tuple[int, float], ...] = ()

    def changed(self, seed: int, reach: float) -> Recipe:
        """Return the recipe of a neighbour."""
        return Recipe(self.seed, (*self.changes, (seed, reach)))

    def noise(self, shape: tuple[int, int, int]) -> torch.Tensor:
        """Make the noise: (1, C, h, w) float32 on the CPU; without changes what `sample` begins with."""
        made = unit_noise(self.seed, shape)
        for seed, reach in self.changes:
            made = changed(made, unit_noise(seed, shape), reach)
        return made


def unit_noise(seed: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """Draw the first noise of a seed: (1, C, h, w)."""
    return torch.randn((1, *shape), generator=torch.Generator("cpu").manual_seed(seed))


def changed(noise: torch.Tensor, other: torch.Tensor, reach: float) -> torch.Tensor:
    """Mix two noises so that the variance stays 1: sqrt(1 - reach^2) noise + reach other."""
    return (1 - reach**2) ** 0.5 * noise + reach * other


def first_noises(recipes: Sequence[Recipe], shape: tuple[int, int, int]) -> torch.Tensor:
    """Make the noises of several recipes: (B, C, h, w)."""
    return torch.cat([recipe.noise(shape) for recipe in recipes])

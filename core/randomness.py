"""Randomness from the run's seed alone: nothing has a state, so nothing has to be saved to resume.

Each purpose (which prompts, which seeds, which steps, in which order) has a stream of its own for each
epoch, named by its seed, its purpose and its numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derived_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Return a seed of 63 bits for one purpose; equal arguments, equal seed, on any machine."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """Return a CPU generator for one purpose."""
    import torch

    return torch.Generator("cpu").manual_seed(derived_seed(seed, purpose, *numbers))

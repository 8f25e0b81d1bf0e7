"""Randomness from the run's seed alone: nothing has a state, so nothing has to be saved to resume.

Each purpose (which prompts, which seeds, which steps, in which order) has a stream of its own for each
epoch, named by its seed, its purpose and its numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def derived_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A seed of 63 bits for one purpose; equal arguments, equal seed, on any machine."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator("cpu").manual_seed(derived_seed(seed, purpose, *numbers))


def epoch_prompts(prompts: Sequence[str], count: int, seed: int, epoch: int) -> list[str]:
    """`count` prompts for an epoch, so that over the epochs each is used as often as any other.

    The epochs read on through one shuffled list of all prompts after the other.
    """
    found, orders = [], {}
    for place in range(epoch * count, (epoch + 1) * count):
        round_, index = divmod(place, len(prompts))
        if round_ not in orders:
            orders[round_] = torch.randperm(len(prompts), generator=generator(seed, "prompts", round_)).tolist()
        found.append(prompts[orders[round_][index]])
    return found


def epoch_seeds(count: int, seed: int, epoch: int) -> list[int]:
    """The seeds of an epoch's pictures."""
    return [derived_seed(seed, "picture", epoch, i) for i in range(count)]

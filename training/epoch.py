"""What an epoch makes: its prompts, groups and seeds, and which of its rows are this process's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..core.randomness import derived_seed, generator
from .config import FineTuneConfig


@dataclass(frozen=True)
class Epoch:
    """Plan one epoch. Each list has an entry for each of the B pictures of all processes.

    Attributes:
        number: from 0.
        prompts: B texts.
        groups: B labels; scores are compared within a group by advantages "group".
        seeds: B seeds.
        starts: B seeds of the first noise, where pictures of a group share it; else None.
        local_rows: the rows of this process.
    """

    number: int
    prompts: list[str]
    groups: list[str]
    seeds: list[int]
    starts: list[int] | None
    local_rows: slice

    @property
    def local_prompts(self) -> list[str]:
        return self.prompts[self.local_rows]

    @property
    def local_seeds(self) -> list[int]:
        return self.seeds[self.local_rows]

    @property
    def local_starts(self) -> list[int] | None:
        return None if self.starts is None else self.starts[self.local_rows]


def plan_epoch(
    config: FineTuneConfig, number: int, prompts: Sequence[str], conditional: bool, local_rows: slice
) -> Epoch:
    """Plan epoch `number`, from 0: `group_size` pictures of each of its prompts, with seeds of their own."""
    count, size = config.samples_per_epoch // config.group_size, config.group_size
    if conditional:
        chosen = epoch_prompts(prompts, count, config.seed, number)
        texts = [prompt for prompt in chosen for _ in range(size)]
    else:
        texts = [prompts[0]] * config.samples_per_epoch
    seeds = epoch_seeds(len(texts), config.seed, number)
    if config.shared_start == "off":
        return Epoch(number, texts, texts, seeds, None, local_rows)
    starts = [derived_seed(config.seed, "start", number, i) for i in range(count) for _ in range(size)]
    return Epoch(number, texts, [str(start) for start in starts], seeds, starts, local_rows)


def epoch_prompts(prompts: Sequence[str], count: int, seed: int, epoch: int) -> list[str]:
    """Return `count` prompts for an epoch, so that over the epochs each is used as often as any other.

    The epochs read on through one shuffled list of all prompts after the other.
    """
    return [prompts[i] for i in epoch_places(len(prompts), count, seed, epoch)]


def epoch_places(available: int, count: int, seed: int, epoch: int) -> list[int]:
    """Return `count` places of a list of so many for an epoch, as `epoch_prompts` takes its prompts."""
    found: list[int] = []
    orders: dict[int, list[int]] = {}
    for place in range(epoch * count, (epoch + 1) * count):
        round_, index = divmod(place, available)
        if round_ not in orders:
            orders[round_] = torch.randperm(available, generator=generator(seed, "prompts", round_)).tolist()
        found.append(orders[round_][index])
    return found


def epoch_seeds(count: int, seed: int, epoch: int) -> list[int]:
    """Return the seeds of an epoch's pictures."""
    return [derived_seed(seed, "picture", epoch, i) for i in range(count)]

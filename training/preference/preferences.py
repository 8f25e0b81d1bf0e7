"""`Preferences`: pictures and what is preferred among them, whoever said so.

Legend: P pictures, G groups; a pair is a group of two.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from ...core.errors import InputError
from ...core.randomness import generator
from ...core.texts import check_prompts
from ...images.pictures import Pictures

MAX_GROUPS = 1_000_000
_FEW_PROMPTS = 5  # below that single groups are held out, not whole prompts


class Ranked(NamedTuple):
    """Say what is preferred among some pictures of one prompt.

    Attributes:
        prompt: what all of them were made from, empty for an unconditional model.
        pictures: places in `Preferences.pictures`.
        advantages: of each, above 0 for the better and below for the worse; they add up to 0. A pair has 1 and -1.
        weight: how much the group counts, above 0.
        mask: place in `Preferences.masks`, None for the whole picture.
    """

    prompt: str
    pictures: tuple[int, ...]
    advantages: tuple[float, ...]
    weight: float = 1.0
    mask: int | None = None


@dataclass(frozen=True)
class Preferences:
    """Hold preferences to learn from; `sources` makes them.

    Attributes:
        pictures: P pictures of any size.
        groups: G of them.
        masks: (M, H, W) in [0, 1], of any size: where pictures are compared, 1 fully and 0 not at all.
        remarks: what was left out and why, a sentence each.

    Raises InputError where there is nothing to learn from, and for groups that make no sense.
    """

    pictures: Pictures
    groups: tuple[Ranked, ...]
    masks: torch.Tensor | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.groups) <= MAX_GROUPS:
            why = " ".join(("There is no pair to learn from.", *self.remarks))
            raise InputError("preferences", f"{len(self.groups)} pairs", why)
        check_prompts([group.prompt for group in self.groups])
        for group in self.groups:
            _check_group(group, len(self.pictures))
        if self.masks is not None:
            _check_masks(self.masks)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the distinct prompts in their order."""
        return tuple(dict.fromkeys(group.prompt for group in self.groups))

    @property
    def fingerprint(self) -> str:
        """Return sixteen hex digits that follow from pictures, order and masks."""
        digest = hashlib.sha256()
        for group in self.groups:
            keys = [self.pictures.key(i) for i in group.pictures]
            digest.update(repr((group.prompt, keys, group.advantages, group.weight, group.mask)).encode())
        if self.masks is not None:
            digest.update(f"{tuple(self.masks.shape)}".encode())
            digest.update(self.masks.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def split(self, share: float, seed: int) -> tuple[tuple[Ranked, ...], tuple[Ranked, ...]]:
        """Split the groups: those to learn from, and about `share` of them that are held out, whole prompts if it can.

        Nothing is held out where nothing would be left to learn from.
        """
        by_prompt = len(self.prompts) >= _FEW_PROMPTS
        units = list(self.prompts) if by_prompt else list(range(len(self.groups)))
        order = torch.randperm(len(units), generator=generator(seed, "held out")).tolist()
        chosen = {units[i] for i in order[: min(math.ceil(share * len(units) - 1e-9), len(units) - 1)]}
        labels = [group.prompt if by_prompt else i for i, group in enumerate(self.groups)]
        known = tuple(group for group, label in zip(self.groups, labels, strict=True) if label not in chosen)
        held_out = tuple(group for group, label in zip(self.groups, labels, strict=True) if label in chosen)
        return known, held_out

    def without_prompts(self) -> Preferences:
        """Return the same for an unconditional model."""
        return replace(self, groups=tuple(group._replace(prompt="") for group in self.groups))


def pair(prompt: str, better: int, worse: int, weight: float = 1.0, mask: int | None = None) -> Ranked:
    """Say that one picture is better than another."""
    return Ranked(prompt, (better, worse), (1.0, -1.0), weight, mask)


def ranked_group(prompt: str, pictures: Sequence[int], scores: Sequence[float]) -> Ranked | None:
    """Return a group whose advantages are z-scores; None where all scores are equal. At least two pictures."""
    values = torch.tensor(scores, dtype=torch.float64)
    std = float(values.std(correction=0))
    if not std > 1e-6 * float(values.abs().max()):
        return None
    return Ranked(prompt, tuple(pictures), tuple(((values - values.mean()) / std).tolist()))


def _check_group(group: Ranked, pictures: int) -> None:
    places, advantages = group.pictures, group.advantages
    if len(places) < 2 or len(places) != len(advantages) or not all(0 <= i < pictures for i in places):
        raise InputError("preferences", group, "A group names two pictures or more, with an advantage each.")
    if not all(map(math.isfinite, (*advantages, group.weight))) or not group.weight > 0:
        raise InputError("preferences", group, "Advantages are numbers, and a weight is above 0.")
    if not max(advantages) > 0 > min(advantages) or abs(sum(advantages)) > 1e-6 * len(advantages):
        raise InputError("preferences", group, "It is a tie, or its advantages do not add up to 0: leave it out.")


def _check_masks(masks: torch.Tensor) -> None:
    if masks.ndim != 3 or not torch.isfinite(masks).all() or masks.min() < 0 or masks.max() > 1:
        raise InputError("mask", tuple(masks.shape), "Masks are numbers from 0 to 1 of shape (batch, height, width).")
    empty = (masks.flatten(1).max(dim=1).values <= 0).nonzero().flatten().tolist()
    if empty:
        raise InputError("mask", f"mask {empty[0] + 1}", "It is black throughout, so nothing would be compared.")

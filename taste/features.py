"""What a taste sees of a picture: named attributes, an encoder's embedding made white, and the crowd's scores.

A `Recipe` is fitted on the first pictures that a person is shown, and stays: answers keep their meaning when other
pictures come. Legend: B pictures, E numbers of the encoder, A attributes, R rewards, D = A + whitened + R features.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..core.errors import InputError
from ..core.groups import group_numbers
from .attributes import ATTRIBUTES, attributes

if TYPE_CHECKING:
    from ..images.pictures import Pictures
    from ..rewards import Reward

WHITENED = 16  # dimensions: few good features learn from few clicks
_LEAST = 1e-6  # a spread below this is no spread


@dataclass(frozen=True, eq=False)
class Recipe:
    """How features are made of attributes, embedding and scores. All float32 on the CPU.

    Attributes:
        names: D names: of the attributes, `look 1`, `look 2`, ..., then of the rewards.
        attribute_mean, attribute_std: (A,).
        centre: (E,), the mean embedding; E is 0 without an encoder.
        directions: (E, W), what turns a centred embedding white.
        reward_mean, reward_std: (R,), the spread inside a prompt.
    """

    names: tuple[str, ...]
    attribute_mean: torch.Tensor
    attribute_std: torch.Tensor
    centre: torch.Tensor
    directions: torch.Tensor
    reward_mean: torch.Tensor
    reward_std: torch.Tensor

    @property
    def rewards(self) -> tuple[str, ...]:
        """The names of the rewards whose scores are features."""
        return self.names[len(self.names) - len(self.reward_mean) :]

    def parts(self, seen: torch.Tensor, embedded: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return features. Shapes: attributes (B, A), embeddings (B, E), scores (B, R) -> (B, D)."""
        device = seen.device
        white = (embedded - self.centre.to(device)) @ self.directions.to(device)
        named = (seen - self.attribute_mean.to(device)) / self.attribute_std.to(device)
        crowd = (scores.to(device) - self.reward_mean.to(device)) / self.reward_std.to(device)
        return torch.cat([named.clamp(-6, 6), white, crowd], dim=1)


def whiten(embedded: torch.Tensor, most: int = WHITENED) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centre (E,) and directions (E, W) that make B embeddings (B, E) white: principal components."""
    centre = embedded.mean(0)
    if embedded.shape[0] < 3 or embedded.shape[1] == 0:
        return centre, torch.zeros(embedded.shape[1], 0)
    _, spread, basis = torch.linalg.svd((embedded - centre).double(), full_matrices=False)
    spread = spread / (len(embedded) - 1) ** 0.5
    kept = int((spread > max(_LEAST, 1e-4 * float(spread[0]))).sum())
    kept = min(kept, most, len(embedded) - 2)
    # the weakest directions are noise that a division by their spread would blow up
    weights = torch.sqrt(spread[:kept] ** 2 + (0.05 * spread[0]) ** 2) if kept else spread[:0]
    return centre, (basis[:kept].T / weights).float()


def fit_recipe(
    seen: torch.Tensor,
    embedded: torch.Tensor,
    scores: torch.Tensor,
    rewards: Sequence[str],
    prompts: Sequence[Hashable],
) -> Recipe:
    """Fit a recipe on B pictures. Shapes: (B, A), (B, E), (B, R), R names, B prompts. Raises InputError under two."""
    if len(seen) < 2:
        raise InputError("pictures", len(seen), "A taste is learned by comparing: give at least two pictures.")
    centre, directions = whiten(embedded)
    inside = scores - group_means(scores, prompts)
    looks = tuple(f"look {i + 1}" for i in range(directions.shape[1]))
    return Recipe(
        names=(*ATTRIBUTES, *looks, *rewards),
        attribute_mean=seen.mean(0),
        attribute_std=_spread(seen - seen.mean(0)),
        centre=centre,
        directions=directions,
        reward_mean=scores.mean(0),
        reward_std=_spread(inside),
    )


def _spread(centred: torch.Tensor) -> torch.Tensor:
    spread = centred.pow(2).mean(0).sqrt()
    return torch.where(spread < _LEAST, torch.ones_like(spread), spread)


def group_means(values: torch.Tensor, groups: Sequence[Hashable]) -> torch.Tensor:
    """Return each row's mean over its group. Shape: (B, R), B labels -> (B, R).

    Rows that are alone with their label are one group: a mean over one row would leave nothing of it.
    """
    numbers = group_numbers(groups)
    alone = torch.bincount(numbers)[numbers] == 1
    numbers = torch.where(alone, int(numbers.max()) + 1, numbers)
    count = torch.zeros(int(numbers.max()) + 1, 1).index_add_(0, numbers, torch.ones(len(values), 1))
    total = torch.zeros(len(count), values.shape[1]).index_add_(0, numbers, values)
    return (total / count)[numbers]


def look_at(pictures: Pictures, encoder: Reward | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attributes (B, A) and embeddings (B, E) of pictures of any sizes; E is 0 without an encoder.

    Pictures are read one at a time. Raises what reading a file raises.
    """
    seen, embedded = [], []
    with torch.no_grad():
        for i in range(len(pictures)):
            picture = pictures.picture(i)[None]
            seen.append(attributes(picture).cpu())
            made = encoder.embed(picture) if encoder is not None and encoder.embed is not None else None
            embedded.append(torch.zeros(1, 0) if made is None else made.float().cpu())
    return torch.cat(seen), torch.cat(embedded)


def encoder_of(reward: Reward | None) -> Reward | None:
    """Return the single reward whose encoder embeds pictures: the first of a combination that has one."""
    return next((one for one in reward.leaves if one.embed is not None), None) if reward is not None else None

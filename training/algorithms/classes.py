"""The classes of the algorithms, by the names of `registry.ALGORITHMS`."""

from __future__ import annotations

from typing import Any

from .base import Algorithm
from .ddpo import DDPO, ScoreFunction
from .matching import Matching
from .preference import Preference
from .reward_gradient import RewardGradient

CLASSES: dict[str, type[Algorithm[Any]]] = {
    "clipped": DDPO,
    "score": ScoreFunction,
    "matching": Matching,
    "reward_gradient": RewardGradient,
    "preference": Preference,
}

"""What is known of each algorithm before it is imported: widget and rules. Its class is in `classes.py`."""

from __future__ import annotations

from collections import ChainMap
from typing import NamedTuple


class KnownAlgorithm(NamedTuple):
    """Describe an algorithm.

    Attributes:
        tip: what it does, in a sentence of the tooltip.
        gaussian_steps: whether it learns from the log-probabilities of steps, so that only schedulers with noise in
            each step will do.
        one_update: whether it is right for one optimizer step an epoch only.
        guided: whether it learns with guidance on, as two rows for each picture.
    """

    tip: str
    gaussian_steps: bool = True
    one_update: bool = False
    guided: bool = True


ALGORITHMS: dict[str, KnownAlgorithm] = {
    "clipped": KnownAlgorithm("importance sampling with a trust region, the paper's main form."),
    "score": KnownAlgorithm("the plain policy gradient, one update an epoch.", one_update=True),
    "matching": KnownAlgorithm(
        "from finished pictures, noised afresh; any scheduler, and several times as fast where it suits.",
        gaussian_steps=False,
        guided=False,
    ),
    "reward_gradient": KnownAlgorithm(
        "climbs the reward itself where it has gradients (ImageReward, CLIP, aesthetic, PickScore): fewest pictures.",
        gaussian_steps=False,
    ),
}
# what learns from pictures that are given, through a door of its own: `preference.tune.preference_tune`
OFFLINE: dict[str, KnownAlgorithm] = {
    "preference": KnownAlgorithm("from pairs and rankings of pictures.", gaussian_steps=False, guided=False),
}
KNOWN: ChainMap[str, KnownAlgorithm] = ChainMap(ALGORITHMS, OFFLINE)

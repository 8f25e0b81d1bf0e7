"""What a taste has learned, in words, with how sure it is; and how well it agrees with its person."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..ranking.kendall import agreement as kendall
from .attributes import ATTRIBUTES
from .head import expected_agreement, self_agreement
from .taste import Taste

_SURE = 1.645  # standard deviations on both sides of a 90% interval
_DRAWS, _PAIRS = 200, 600
_REPEATS_TELL = 10  # pairs of answers that count as much as what the model expects of repeats


class Agreement(NamedTuple):
    """Shares of pairs: how often the taste picks as its person does, and the person as before; 90% intervals."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    own: float
    asked_again: int
    same_again: int


def agreement(taste: Taste, features: np.ndarray, seed: int = 0) -> Agreement:
    """Say how far a taste agrees with its person on pairs of the pictures that `features` (B, D) are of.

    By the posterior: the mean over its draws of how often the best guess is what the person would answer. The person's
    agreement with itself is what the draws expect, moved by the repeats that were really asked.
    """
    rng = np.random.default_rng(seed)
    pairs = rng.integers(len(features), size=(_PAIRS, 2))
    differences = features[pairs[:, 0]] - features[pairs[:, 1]]
    differences = differences[np.abs(differences).sum(1) > 0]
    if not len(differences):
        return Agreement(0.5, 0.5, 0.5, 0.5, 0, 0)
    draws = taste.posterior.draws(_DRAWS, rng)
    found = expected_agreement(draws, taste.posterior.mean, differences)
    expected = float(self_agreement(draws, differences).mean())
    asked, same = repeats(taste)
    own = (_REPEATS_TELL * expected + same) / (_REPEATS_TELL + asked)
    low, high = np.quantile(found, [0.05, 0.95])
    return Agreement(float(found.mean()), float(low), float(high), own, asked, same)


def repeats(taste: Taste) -> tuple[int, int]:
    """Count the grids that were asked twice, and those of them that got the same answer."""
    first: dict[frozenset[str], str] = {}
    asked = same = 0
    for answer in taste.answers:
        shown = frozenset(answer.click.shown)
        if answer.click.kind == "repeat" and shown in first:
            asked += 1
            same += first[shown] == answer.click.picked
        first.setdefault(shown, answer.click.picked)
    return asked, same


class Learned(NamedTuple):
    """One named attribute: what is liked of it, its weight and 90% interval, and whether the sign is sure."""

    words: str
    weight: float
    low: float
    high: float
    sure: bool


def learned(taste: Taste) -> list[Learned]:
    """List the named attributes, the strongest against its own doubt first."""
    spread = np.sqrt(np.diag(taste.posterior.covariance))
    found = []
    for i, (more, less) in enumerate(ATTRIBUTES.values()):
        weight, doubt = float(taste.posterior.mean[i]), float(spread[i])
        low, high = weight - _SURE * doubt, weight + _SURE * doubt
        found.append((abs(weight) / doubt, Learned(more if weight >= 0 else less, weight, low, high, low * high > 0)))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def crowd_agreement(taste: Taste, features: np.ndarray, prompts: Sequence[Hashable]) -> dict[str, float]:
    """Compute Kendall's tau-b of the taste and each of the crowd's rewards, within prompts; without ties of all pairs.

    Shapes: features (B, D) of B pictures. 1: the same order, -1: the reverse, about 0: unrelated.
    """
    mine, crowd = torch.from_numpy(features @ taste.posterior.mean), list(taste.crowd)
    found = {}
    for name, column in zip(crowd, features.T[len(features.T) - len(crowd) :], strict=True):
        tau = kendall(mine, torch.from_numpy(column.copy()), prompts)
        if tau is not None:
            found[name] = tau
    return found


def report(taste: Taste, features: np.ndarray, prompts: Sequence[Hashable]) -> str:
    """Word what a taste knows: clicks, agreement with its person and with the crowd, what it likes, how sure it is.

    Shapes: features (B, D) of B pictures, made from B prompts.
    """
    found, counted = agreement(taste, features), len(taste.counted)
    lines = [
        f"{taste.name}: {counted} clicks" + (f", {len(taste.answers) - counted} none" * (counted < len(taste.answers)))
    ]
    lines.append(
        f"you agree with yourself {found.own:.0%}, I agree with you {found.accuracy:.0%} "
        f"({found.accuracy_low:.0%} to {found.accuracy_high:.0%} with 90% probability), on pairs of these pictures"
    )
    if found.asked_again:
        lines.append(f"asked {found.asked_again} grids again: {found.same_again} got the same answer")
    for name, tau in crowd_agreement(taste, features, prompts).items():
        lines.append(f"you and {name} agree at tau {tau:.2f} on these pictures (1: the same order, 0: unrelated)")
    parts = learned(taste)
    sure = [one.words for one in parts if one.sure]
    lines.append(f"you like pictures {', '.join(sure)} than the crowd does" if sure else "nothing named is sure yet")
    lines += ["", "weight of each attribute, 90% interval:"]
    lines += [
        f"{'*' if one.sure else ' '} {one.words}: {one.weight:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
        for one in parts
    ]
    return "\n".join(lines)


def why(taste: Taste, features: np.ndarray, others: np.ndarray) -> list[tuple[str, float]]:
    """Say why a picture scored as it did: each feature's share of its distance from the others' mean, largest first.

    Shapes: (D,), (B, D). The sum of the shares is the picture's score minus the mean score.
    """
    shares = taste.posterior.mean * (features - others.mean(0))
    looks = [i for i, name in enumerate(taste.recipe.names) if name.startswith("look ")]
    named = []
    for i, name in enumerate(taste.recipe.names):
        if i not in looks:
            above = features[i] >= others[:, i].mean()
            named.append((ATTRIBUTES[name][0 if above else 1] if name in ATTRIBUTES else name, float(shares[i])))
    if looks:
        named.append(("its looks, which have no name", float(shares[looks].sum())))
    return sorted(named, key=lambda pair: -abs(pair[1]))

"""What votes say: win rates and odds, strengths of several models, agreement of voters and of rewards. Pure.

A pair counts once, however many voters judged it: its votes are averaged first. Votes on one pair are not
independent of each other, so an interval that counted each would be too narrow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ...ranking.intervals import Z95, Interval, wilson_interval
from .rows import VoteRow
from .votes import FIRST, SECOND, SKIP, TIE

_ROUNDS, _CLOSE = 100_000, 1e-12  # of the strengths' iteration


@dataclass(frozen=True)
class Duel:
    """Two models against each other.

    Attributes:
        models: (the one favoured, the other).
        wins, losses, ties, skips: votes, as the favoured one sees them.
        pairs: pairs with a vote that is no skip.
        rate: how often the favoured one wins, a tie half a win, each pair once; 95% Wilson interval.
    """

    models: tuple[str, str]
    wins: int
    losses: int
    ties: int
    skips: int
    pairs: int
    rate: Interval


class Strength(NamedTuple):
    """A model's Bradley-Terry strength: `share` of all strengths, and its log (mean 0) with a 95% interval."""

    model: str
    share: float
    log: Interval


class VoterAgreement(NamedTuple):
    """How far voters agree. `kappa` is Cohen's for two, Fleiss' for more, over the `pairs` all of them judged.

    `same` is how often two voters who both chose a side chose the same, None where that never happened.
    """

    kind: str
    kappa: float | None
    pairs: int
    same: float | None


class RewardAgreement(NamedTuple):
    """How often a reward gives the picture a voter chose the higher score, over `pairs` pairs."""

    reward: str
    rate: Interval
    pairs: int


def odds(rate: Interval) -> Interval:
    """Return p / (1 - p) of a share and of its interval's ends; infinite where the share is 1."""
    return Interval(*(p / (1 - p) if p < 1 else math.inf for p in rate))


def duels(rows: Iterable[VoteRow]) -> list[Duel]:
    """Compare each two models that met. Those without a vote that decides are left to `skips` alone."""
    met: dict[tuple[str, str], list[VoteRow]] = {}
    for row in rows:
        met.setdefault(row.pair.models, []).append(row)
    return [found for models in sorted(met) if (found := _duel(models, met[models])) is not None]


def _duel(models: tuple[str, str], rows: list[VoteRow]) -> Duel | None:
    count = Counter(row.pick for row in rows)
    shares = _pair_shares(rows)
    if not shares:
        return None
    wins = sum(shares.values())
    rate = wilson_interval(wins, len(shares))
    for_first, against = count[FIRST], count[SECOND]
    if 2 * wins < len(shares):
        models, rate = (models[1], models[0]), wilson_interval(len(shares) - wins, len(shares))
        for_first, against = against, for_first
    return Duel(models, for_first, against, count[TIE], count[SKIP], len(shares), rate)


def _pair_shares(rows: Iterable[VoteRow]) -> dict[str, float]:
    """Return the first model's part of each judged pair: the mean of 1 for a win, 1/2 for a tie, 0 for a loss."""
    worth = {FIRST: 1.0, TIE: 0.5, SECOND: 0.0}
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.pick in worth:
            found.setdefault(row.pair.key, []).append(worth[row.pick])
    return {key: sum(values) / len(values) for key, values in found.items()}


def wins_table(rows: Iterable[VoteRow]) -> tuple[list[str], np.ndarray]:
    """Return the models' names, and (M, M) how often the row's model beat the column's; a pair adds 1 in all."""
    rows = list(rows)
    shares = _pair_shares(rows)
    models = {row.pair.key: row.pair.models for row in rows if row.pair.key in shares}
    names = sorted({name for pair in models.values() for name in pair})
    table = np.zeros((len(names), len(names)))
    for key, share in shares.items():
        i, j = (names.index(name) for name in models[key])
        table[i, j] += share
        table[j, i] += 1 - share
    return names, table


def bradley_terry(names: Sequence[str], wins: np.ndarray) -> list[Strength] | None:
    """Estimate strengths p_i with P(i beats j) = p_i / (p_i + p_j), strongest first (Bradley & Terry 1952).

    The maximum of the likelihood by Hunter's minorise-maximise steps (Annals of Statistics 32, 2004):
    p_i <- W_i / sum_j n_ij / (p_i + p_j). Intervals are log p +- 1.96 standard errors, from the inverse of the
    Fisher information on the plane where the logs sum to 0.

    None where there is no maximum (Ford 1957): some models never lost to the others, or never met them.
    Shape: `wins` (M, M), zero on the diagonal; M is at least 2.
    """
    if not _is_connected(wins):
        return None
    count, met = len(names), wins + wins.T
    p = np.full(count, 1 / count)
    for _ in range(_ROUNDS):
        new = wins.sum(1) / (met / (p[:, None] + p[None])).sum(1)
        new /= new.sum()
        done = np.abs(np.log(new / p)).max() < _CLOSE
        p = new
        if done:
            break
    chance = p[:, None] / (p[:, None] + p[None])
    weight = met * chance * chance.T
    information = np.diag(weight.sum(1)) - weight
    errors = np.sqrt(np.clip(np.diag(np.linalg.pinv(information, hermitian=True)), 0, None))
    logs = np.log(p) - np.log(p).mean()
    found = [
        Strength(name, float(p[i]), Interval(*(float(logs[i] + z * errors[i]) for z in (0, -Z95, Z95))))
        for i, name in enumerate(names)
    ]
    return sorted(found, key=lambda strength: -strength.share)


def _is_connected(wins: np.ndarray) -> bool:
    """Say whether from every model a chain of wins leads to every other."""
    reach = (wins > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(len(wins)):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return bool(reach.all())


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Return (observed - expected) / (1 - expected), the agreement of two voters (Cohen 1960).

    None for no item, and where both gave one answer throughout, so that chance alone would make them agree.
    """
    count = len(a)
    if not count:
        return None
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / count
    of_a, of_b = Counter(a), Counter(b)
    expected = sum(of_a[answer] * of_b[answer] for answer in of_a) / count**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Return the same for n voters (Fleiss 1971).

    `counts` (N items, K answers) says how many gave each; every row sums to n. None for no item, and where
    all gave one answer throughout.
    """
    if not counts:
        return None
    table = np.asarray(counts, dtype=float)
    voters = table[0].sum()
    observed = ((table**2).sum(1) - voters).mean() / (voters * (voters - 1))
    expected = float(((table.sum(0) / table.sum()) ** 2).sum())
    return None if expected >= 1 - 1e-12 else float((observed - expected) / (1 - expected))


def voter_agreement(rows: Iterable[VoteRow]) -> VoterAgreement | None:
    """Measure how far the voters agree on first, second and tie; None with fewer than two. Skips are no answer."""
    answers: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.pick != SKIP:
            answers.setdefault(row.voter, {})[row.pair.key] = row.pick
    if len(answers) < 2:
        return None
    voters = list(answers.values())
    common = sorted(set.intersection(*(set(one) for one in voters)))
    if len(voters) == 2:
        kind, kappa = "Cohen's kappa", cohen_kappa(*([one[key] for key in common] for one in voters))
    else:
        given = [Counter(one[key] for one in voters) for key in common]
        kind, kappa = "Fleiss' kappa", fleiss_kappa([[c[FIRST], c[SECOND], c[TIE]] for c in given])
    return VoterAgreement(kind, kappa, len(common), _same_side(voters))


def _same_side(voters: Sequence[dict[str, str]]) -> float | None:
    same = [
        one[key] == other[key]
        for one, other in combinations(voters, 2)
        for key in one.keys() & other.keys()
        if TIE not in (one[key], other[key])
    ]
    return sum(same) / len(same) if same else None


def reward_agreement(rows: Iterable[VoteRow]) -> list[RewardAgreement]:
    """Measure how often each reward prefers what a voter chose, best first: how ImageReward's authors judge rewards.

    Ties and skips are left out; equal scores are half an agreement (preference accuracy of Xu et al. 2023,
    arXiv:2304.05977).
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.pick not in (FIRST, SECOND):
            continue
        for name, (first, second) in row.pair.scores.items():
            chosen, other = (first, second) if row.pick == FIRST else (second, first)
            worth = 0.5 if chosen == other else float(chosen > other)
            found.setdefault(name, {}).setdefault(row.pair.key, []).append(worth)
    result = []
    for name, by_pair in found.items():
        total = sum(sum(values) / len(values) for values in by_pair.values())
        result.append(RewardAgreement(name, wilson_interval(total, len(by_pair)), len(by_pair)))
    return sorted(result, key=lambda one: -one.rate.value)


def left_share(rows: Iterable[VoteRow]) -> tuple[Interval, int] | None:
    """Measure how often the left picture was chosen, of the votes for a side: far from half, the study has a bias."""
    lefts = [(row.pick == SECOND) == row.second_left for row in rows if row.pick in (FIRST, SECOND)]
    return (wilson_interval(sum(lefts), len(lefts)), len(lefts)) if lefts else None

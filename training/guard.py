"""The guard against reward hacking: when a run has begun to cheat, and which of its epochs is kept.

It reads comparisons of tuned and base on held-out prompts and seeds (`heldout.compare`). A watched reward is one that
nothing is learned from, so that a policy which games the trained one has no reason to please it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

FALL = 2.0  # standard errors
WATCHED = "watched: "  # before the name of a watched reward in a comparison


class Verdict(NamedTuple):
    """Say what follows from a run's comparisons.

    Attributes:
        kept: the epoch to keep, from 1; 0 is the untrained model.
        stop: why the run should end, in words; empty where it should not.
    """

    kept: int
    stop: str


def is_judged(comparison: Mapping[str, Any]) -> bool:
    """Return whether a comparison says all that `judge` reads: those of older versions did not."""
    rows = comparison["rewards"].values()
    figures = all({"change", "standard_error", "gain_in_base_std"} <= set(row) for row in rows)
    return figures and {"diversity_base", "diversity_tuned"} <= set(comparison)


def fell(change: float, standard_error: float, mark: float = 0.0) -> bool:
    """Return whether a paired change lies more than two of its standard errors below `mark`."""
    return change < mark - FALL * standard_error


def judge(comparisons: Sequence[tuple[int, Mapping[str, Any]]], floor: float) -> Verdict:
    """Judge a run by its (epoch, comparison) pairs so far, in their order.

    It ends when a watched reward is more than two standard errors of its paired change below its start or below its
    best so far, or diversity within a prompt is below `floor` times the base's. Kept is the epoch before that whose
    gain in the trained rewards and in the watched ones, on average each, adds up to the most, in standard deviations of
    the base's scores.
    """
    kept, best = 0, 0.0
    marks: dict[str, float] = {}
    for epoch, found in comparisons:
        stop = _trouble(epoch, found, marks, floor)
        if stop:
            return Verdict(kept, f"{stop} {_kept_words(kept)}")
        watched = {name: row for name, row in found["rewards"].items() if name.startswith(WATCHED)}
        trained = [row for name, row in found["rewards"].items() if name not in watched]
        gain = _mean_gain(trained) + _mean_gain(watched.values())
        if kept == 0 or gain >= best:
            kept, best = epoch, gain
        marks.update({name: max(marks.get(name, 0.0), row["change"]) for name, row in watched.items()})
    return Verdict(kept, "")


def _mean_gain(rows: Collection[Mapping[str, Any]]) -> float:
    return sum(row["gain_in_base_std"] for row in rows) / len(rows) if rows else 0.0


def _trouble(epoch: int, found: Mapping[str, Any], marks: Mapping[str, float], floor: float) -> str:
    """Say what is wrong at an epoch; nothing where nothing is."""
    for name, row in found["rewards"].items():
        if not name.startswith(WATCHED):
            continue
        mark = marks.get(name, 0.0)
        if fell(row["change"], row["standard_error"], mark):
            since = "at its best" if mark > 0 else "before training"
            return (
                f"Stopped after epoch {epoch}: {name.removeprefix(WATCHED)}, which is only watched, is "
                f"{mark - row['change']:.3g} lower than {since}, more than chance explains "
                f"({FALL:g} standard errors of {row['standard_error']:.2g})."
            )
    before, now = found["diversity_base"], found["diversity_tuned"]
    if now < floor * before:
        return (
            f"Stopped after epoch {epoch}: pictures of one prompt have become too much alike, {now / before:.0%} as "
            f"different as before training (diversity_floor is {floor:.0%})."
        )
    return ""


def _kept_words(kept: int) -> str:
    if kept:
        return f"What is kept is epoch {kept}, the best before that."
    return "No comparison before it was good, so the untrained model is kept: lower evaluate_every or learning_rate."

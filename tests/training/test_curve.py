"""The picture of a run: its axes, and what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tastemaker.core.errors import InputError
from tastemaker.plots.axes import ticks
from tastemaker.plots.theme import BLUE as LINE
from tastemaker.plots.theme import GREEN
from tastemaker.training.run.curve import curve, panels
from tastemaker.training.run.report import EpochReport


def report(epoch: int, **figures) -> EpochReport:
    """As a line of metrics.jsonl had it before algorithms had names."""
    usual = {"reward": 0.1 * epoch, "reward_std": 0.05, "rewards": {"jpeg": 1.0}, "loss": 0.0, "kl": 0.0, "ratio": 1.0}
    usual |= {"clip_fraction": 0.0, "first_ratio_error": 0.0, "grad_norm": 0.1, "learning_rate": 1e-3, "updates": 4}
    return EpochReport.from_record({"epoch": epoch, "pairs": 64, "dropped": 0, "pictures": 16, **usual, **figures})


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]),  # a quarter rounds up to a half
        (-1.5, 2.5, [-1.0, 0.0, 1.0, 2.0]),
        (0.0, 40.0, [0, 10, 20, 30, 40]),
        (0.013, 0.017, [0.013, 0.014, 0.015, 0.016, 0.017]),
        (3.0, 3.0, [3.0]),
    ],
)
def test_ticks_are_round_numbers_in_the_range(low: float, high: float, want: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(want)


def test_distance_is_shown_only_where_it_was_measured() -> None:
    assert "distance from the base (KL)" not in [p.title for p in panels([report(1)])]
    assert "distance from the base (KL)" in [p.title for p in panels([report(1), report(2, kl=0.1)])]


def test_parts_of_a_combined_reward_have_panels_of_their_own() -> None:
    found = {p.title: p.values for p in panels([report(1), report(2, rewards={"jpeg": 3.0, "taste": 2.0})])}
    assert found["jpeg"] == [1.0, 3.0]
    assert math.isnan(found["taste"][0])
    assert found["taste"][1] == 2.0


def test_a_rising_reward_is_drawn_rising() -> None:
    picture = np.asarray(curve([report(i) for i in range(1, 11)]))
    top = (picture[90:420] == LINE).all(-1)  # the line of the first panel, its number above left out
    rows, columns = np.nonzero(top)
    first, last = rows[columns < columns.min() + 5].mean(), rows[columns > columns.max() - 5].mean()
    assert last < first - 150


def test_one_epoch_is_a_dot_and_none_an_error() -> None:
    assert curve([report(1)]).size[0] == 1200
    with pytest.raises(InputError, match="report"):
        curve([])


def judged(gain: float, alike: float, kept: int) -> dict:
    row = {"tuned": 0.0, "change": gain, "standard_error": 0.1, "gain_in_base_std": gain}
    return {
        "rewards": {"taste": row, "watched: jpeg": {**row, "gain_in_base_std": -gain}},
        **{"diversity_base": 0.2, "diversity_tuned": alike, "kept_epoch": kept},
    }


def test_comparisons_are_gains_and_diversity_with_gaps_where_none_was_made() -> None:
    run = [report(1), report(2, evaluation=judged(0.5, 0.1, 2)), report(3, evaluation=judged(1.0, 0.05, 3))]
    found = {p.title: p.values for p in panels(run)}
    assert found["gain by comparison: taste"][1:] == [0.5, 1.0]
    assert found["gain by comparison: watched: jpeg"][1:] == [-0.5, -1.0]
    assert found["diversity within a prompt, %"][1:] == [50.0, 25.0]
    assert all(math.isnan(found[title][0]) for title in found if "comparison" in title or "diversity" in title)
    assert not any("comparison" in p.title for p in panels([report(1)]))


def test_the_kept_epoch_is_marked_where_it_is_not_the_last() -> None:
    def marks(kept: int) -> int:
        run = [report(i, evaluation=judged(0.5, 0.1, min(i, kept))) for i in range(1, 5)]
        return int(
            (np.asarray(curve(run, title="run")) == GREEN).all(-1).any(0).sum()
        )  # columns with the mark's colour

    assert marks(2) > 0
    assert marks(4) == marks(0) == 0  # the last, and the untrained model, which has no place on the axis

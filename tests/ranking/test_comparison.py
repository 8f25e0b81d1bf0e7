"""Before and after: pairs, win rates and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tastemaker.core.errors import InputError
from tastemaker.plots.theme import GREEN as BETTER
from tastemaker.plots.theme import RED as WORSE
from tastemaker.ranking.comparison import best_examples, compare, difference, in_words, paired
from tastemaker.ranking.intervals import t95, wilson_interval
from tastemaker.ranking.output.comparison_sheet import comparison_sheet
from tastemaker.ranking.table import ScoreTable


def table(scores: list[float], seeds: list[int | None] | None = None, prompt: str = "a", main: str = "r") -> ScoreTable:
    count = len(scores)
    images = torch.linspace(0, 1, count).view(-1, 1, 1, 1).expand(count, 8, 8, 3)
    return ScoreTable(
        images,
        (prompt,) * count,
        tuple(seeds or range(count)),
        {main: torch.tensor(scores), "x": torch.zeros(count)},
        main,
    )


def test_wilson_interval() -> None:
    """7 of 10: z^2 = 3.8415, centre (.7 + .19207) / 1.38415 = .64449, reach
    1.95996 / 1.38415 sqrt(.021 + .0096036) = .24771."""
    share = wilson_interval(7, 10)
    assert share == pytest.approx((0.7, 0.39678, 0.89221), abs=1e-4)


def test_no_win_and_all_wins_stay_inside() -> None:
    """0 of n: low 0, high z^2 / (n + z^2) = 3.8415 / 13.8415."""
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.0, 0.27753), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((1.0, 0.72247, 1.0), abs=1e-4)
    with pytest.raises(InputError, match="pairs"):
        wilson_interval(0, 0)


def test_students_points_are_those_of_the_tables() -> None:
    for freedom, point in {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 29: 2.045, 1000: 1.962}.items():
        assert t95(freedom) == pytest.approx(point, abs=5e-4)


def test_difference_by_hand() -> None:
    """Changes 1, 0, 2: mean 1, standard deviation 1, half 4.3026527 / sqrt(3); two wins and a tie."""
    found = difference("r", torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 4.0]))
    half = 4.3026527 / math.sqrt(3)
    assert (found.before, found.after, found.change) == (1.0, 2.0, 1.0)
    assert (found.change_low, found.change_high) == pytest.approx((1 - half, 1 + half))
    assert found.win_rate.value == pytest.approx(2.5 / 3)
    assert in_words(found).startswith("r: 1 before, 2 after; change +1 (-1.48 to +3.48); after wins 83% of pairs")


def test_one_pair_has_no_interval_of_the_change() -> None:
    found = difference("r", torch.tensor([0.0]), torch.tensor([1.0]))
    assert math.isinf(found.change_high)
    assert "inf" not in in_words(found)


def test_pairs_are_found_by_prompt_and_seed() -> None:
    before, after = table([0.0, 1.0, 2.0], [5, 6, 7]), table([9.0, 7.0, 8.0], [7, 5, 6])
    _, sorted_after = paired(before, after)
    assert sorted_after.seeds == (5, 6, 7)
    assert sorted_after.scores["r"].tolist() == [7.0, 8.0, 9.0]
    assert [d.name for d in compare(before, after)] == ["r", "x"]


def test_pictures_without_seeds_are_paired_in_order() -> None:
    before, after = table([0.0, 1.0], [None, None]), table([2.0, 3.0], [None, None])
    assert paired(before, after)[1].scores["r"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("after", "word"),
    [
        (table([1.0, 2.0], [5, 8]), "seed 6"),
        (table([1.0, 2.0], [5, 6], prompt="b"), "no picture of 'a'"),
        (table([1.0, 2.0, 3.0], [5, 6, 7]), "2 pictures"),
        (table([1.0, 2.0], [5, 6], main="other"), "scored with r"),
    ],
)
def test_what_is_no_pair_is_refused(after: ScoreTable, word: str) -> None:
    with pytest.raises(InputError, match=word):
        compare(table([0.0, 1.0], [5, 6]), after)


def test_examples_run_from_the_largest_gain_to_the_largest_loss() -> None:
    before, after = table([0.0] * 5), table([1.0, -3.0, 5.0, 0.0, 2.0])
    assert best_examples(before, after, 5) == [2, 4, 0, 3, 1]
    assert best_examples(before, after, 3) == [2, 0, 1]
    assert best_examples(before, after, 1) == [2]


def test_the_sheet_shows_gains_green_and_losses_red() -> None:
    gain = np.asarray(comparison_sheet(table([0.0]), table([1.0])))
    loss = np.asarray(comparison_sheet(table([1.0]), table([0.0])))
    for picture, there, not_there in ((gain, BETTER, WORSE), (loss, WORSE, BETTER)):
        assert (picture == there).all(-1).any()
        assert not (picture == not_there).all(-1).any()

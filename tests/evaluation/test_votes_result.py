"""What votes say: every formula against numbers derived by hand, and the report, table and picture made of them."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from tastemaker.core.errors import InputError
from tastemaker.evaluation.votes.report import answers, chart, summary, votes_csv
from tastemaker.evaluation.votes.rows import VoteRow
from tastemaker.evaluation.votes.statistics import (
    bradley_terry,
    cohen_kappa,
    duels,
    fleiss_kappa,
    left_share,
    odds,
    reward_agreement,
    voter_agreement,
    wins_table,
)
from tastemaker.evaluation.votes.votes import Pair
from tastemaker.ranking.intervals import Interval, wilson_interval


def vote(
    i: int,
    pick: str,
    voter: str = "ann",
    *,
    models: tuple[str, str] = ("base", "tuned"),
    scores: dict[str, tuple[float, float]] | None = None,
    second_left: bool = False,
    question: str = "aesthetics",
    prompt: str = "a heart",
) -> VoteRow:
    pair = Pair(prompt, i, models, ("x", "y"), scores or {})
    return VoteRow(pair, voter, question, pick, second_left, 1_700_000_000_000 + i % 1000)


def votes(picks: str, voter: str = "ann", **same: object) -> list[VoteRow]:
    """One letter a pair: f(irst), s(econd), t(ie), - for a skip."""
    names = {"f": "first", "s": "second", "t": "tie", "-": "skip"}
    return [vote(i, names[letter], voter, **same) for i, letter in enumerate(picks)]  # type: ignore[arg-type]


# --- win rate and odds ----------------------------------------------------------------------------


def test_win_rate_with_ties_and_skips() -> None:
    """6 wins, 3 losses, 2 ties, 1 skip: (6 + 1) of 11 pairs; the favoured model is named first."""
    (found,) = duels(votes("ssssssffftt-"))
    assert found.models == ("tuned", "base")
    assert (found.wins, found.losses, found.ties, found.skips, found.pairs) == (6, 3, 2, 1, 11)
    assert found.rate == wilson_interval(7, 11)


def test_odds_are_those_of_the_share_and_of_its_ends() -> None:
    """Playground's 2.5 to 1 is a share of 2.5 / 3.5."""
    assert odds(Interval(2.5 / 3.5, 0.5, 0.75)) == pytest.approx((2.5, 1.0, 3.0))
    assert odds(Interval(1.0, 0.5, 1.0)) == (math.inf, 1.0, math.inf)


def test_a_pair_counts_once_however_many_voters_judged_it() -> None:
    """Pair 0: second, second, first -> 2/3 for second; pair 1: tie -> 1/2; pair 2: skipped. 7/6 of 2 pairs."""
    rows = [*votes("st-", "ann"), *votes("s--", "bob"), *votes("f--", "cy")]
    (found,) = duels(rows)
    assert found.pairs == 2
    assert found.rate == pytest.approx(wilson_interval(7 / 6, 2))
    assert (found.wins, found.losses, found.ties, found.skips) == (2, 1, 1, 5)


def test_nothing_but_skips_is_no_duel() -> None:
    assert duels(votes("--")) == []
    assert "Every pair was skipped" in summary("s", votes("--"))


# --- Bradley-Terry --------------------------------------------------------------------------------


def test_two_models_have_the_strengths_of_their_wins() -> None:
    """6 to 2: p = 3/4 and 1/4. The log ratio log 3 has variance 1/6 + 1/2 = 2/3, each log half of it."""
    strong, weak = bradley_terry(["a", "b"], np.array([[0.0, 6.0], [2.0, 0.0]]))
    assert (strong.model, weak.model) == ("a", "b")
    assert (strong.share, weak.share) == pytest.approx((0.75, 0.25))
    half = 1.959964 * math.sqrt(2 / 3) / 2
    middle = math.log(3) / 2
    assert strong.log == pytest.approx((middle, middle - half, middle + half))
    assert weak.log == pytest.approx((-middle, -middle - half, -middle + half))


def test_three_models_whose_wins_fit_exactly() -> None:
    """Wins 2:1, 2:1 and 4:1 are what strengths 4:2:1 foretell, so those are the maximum."""
    wins = np.array([[0, 2, 4], [1, 0, 2], [1, 1, 0]], dtype=float)
    found = bradley_terry(["a", "b", "c"], wins)
    assert [s.model for s in found] == ["a", "b", "c"]
    assert [s.share for s in found] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    logs = [s.log.value for s in found]
    assert logs == pytest.approx([math.log(2), 0.0, -math.log(2)], abs=1e-9)


def test_equal_models_have_equal_strengths_and_known_errors() -> None:
    """Each two met 8 times, 4:4. Information: 8/4 off the diagonal, so L = 2 (3 I - J); its inverse on the plane
    of sum 0 is I/6 there: variance (1 - 1/3) / 6 = 1/9."""
    wins = 4.0 * (1 - np.eye(3))
    for found in bradley_terry(["a", "b", "c"], wins):
        assert found.share == pytest.approx(1 / 3)
        assert found.log == pytest.approx((0.0, -1.959964 / 3, 1.959964 / 3), abs=1e-6)


def test_at_the_maximum_each_model_wins_as_often_as_foretold() -> None:
    """The gradient of the likelihood is 0: W_i = sum_j n_ij p_i / (p_i + p_j)."""
    wins = np.random.default_rng(0).integers(1, 30, (5, 5)).astype(float)
    np.fill_diagonal(wins, 0)
    share = {s.model: s.share for s in bradley_terry(list("abcde"), wins)}
    p = np.array([share[name] for name in "abcde"])
    foretold = ((wins + wins.T) * p[:, None] / (p[:, None] + p[None])).sum(1)
    assert foretold == pytest.approx(wins.sum(1), rel=1e-8)


def test_no_strengths_where_there_is_no_maximum() -> None:
    assert bradley_terry(["a", "b"], np.array([[0.0, 3.0], [0.0, 0.0]])) is None
    apart = np.zeros((4, 4))
    apart[0, 1] = apart[1, 0] = apart[2, 3] = apart[3, 2] = 1
    assert bradley_terry(list("abcd"), apart) is None


def test_the_table_of_wins_counts_a_pair_once() -> None:
    rows = [*votes("sst", "ann"), *votes("f", "bob"), vote(9, "first", models=("base", "other"))]
    names, wins = wins_table(rows)
    assert names == ["base", "other", "tuned"]
    assert wins.tolist() == [[0, 1, 0.5 + 0.5], [0, 0, 0], [0.5 + 1 + 0.5, 0, 0]]


def test_a_model_that_was_only_skipped_takes_no_part() -> None:
    rows = [*votes("sf"), vote(9, "skip", models=("base", "other"))]
    assert wins_table(rows)[0] == ["base", "tuned"]


# --- agreement ------------------------------------------------------------------------------------


def test_cohens_kappa() -> None:
    """20 both yes, 15 both no, 5 and 10 apart: observed 0.7, expected 0.5 x 0.6 + 0.5 x 0.4 = 0.5, kappa 0.4."""
    a = ["y"] * 25 + ["n"] * 25
    b = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa(a, a) == pytest.approx(1.0)
    assert cohen_kappa(["y", "y"], ["y", "y"]) is None
    assert cohen_kappa([], []) is None


def test_fleiss_kappa() -> None:
    """Three voters, two items, answers 3-0 and 1-2: P_i = 1 and (1 + 4 - 3) / 6 = 1/3, mean 2/3;
    shares 4/6 and 2/6: expected 5/9; kappa (2/3 - 5/9) / (4/9) = 1/4."""
    assert fleiss_kappa([[3, 0], [1, 2]]) == pytest.approx(0.25)
    assert fleiss_kappa([[3, 0], [3, 0]]) is None
    assert fleiss_kappa([]) is None


def test_fleiss_own_example() -> None:
    """Fourteen voters, ten items, five answers: kappa 0.210 (the worked example in Wikipedia's "Fleiss' kappa")."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)


def test_two_voters_over_the_pairs_both_judged() -> None:
    """Common: ff, fs, ss, tt (the skip is no answer): observed 3/4; expected (2*1 + 1*2 + 1*1) / 16 = 5/16;
    kappa (12 - 5) / (16 - 5) = 7/11. Both chose a side in three: the same in two."""
    found = voter_agreement([*votes("ffst-f", "ann"), *votes("fsstt", "bob")])
    assert found.kind == "Cohen's kappa"
    assert (found.pairs, found.kappa, found.same) == (4, pytest.approx(7 / 11), pytest.approx(2 / 3))


def test_three_voters_have_fleiss_kappa() -> None:
    """The items of `test_fleiss_kappa`: fff and fss."""
    found = voter_agreement([*votes("ff", "ann"), *votes("fs", "bob"), *votes("fs", "cy")])
    assert found.kind == "Fleiss' kappa"
    assert (found.pairs, found.kappa) == (2, pytest.approx(0.25))
    assert found.same == pytest.approx(4 / 6)  # ff ff ff; fs fs ss
    assert voter_agreement(votes("fs")) is None


def test_how_often_a_reward_prefers_what_was_chosen() -> None:
    """Pair 0: chosen higher; 1: chosen lower; 2: equal, half; 3: tie, not counted; 4: no score of this reward."""
    rows = [
        vote(0, "second", scores={"r": (0.0, 1.0)}),
        vote(1, "first", scores={"r": (0.0, 1.0)}),
        vote(2, "first", scores={"r": (1.0, 1.0)}),
        vote(3, "tie", scores={"r": (0.0, 1.0)}),
        vote(4, "first", scores={"other": (1.0, 0.0)}),
    ]
    other, found = reward_agreement(rows)
    assert (other.reward, other.pairs, other.rate) == ("other", 1, wilson_interval(1, 1))
    assert (found.reward, found.pairs, found.rate) == ("r", 3, wilson_interval(1.5, 3))


def test_the_share_of_left_is_of_sides_not_models() -> None:
    rows = [
        vote(0, "first"),  # first stands left
        vote(1, "first", second_left=True),  # and right
        vote(2, "second", second_left=True),  # left
        vote(3, "tie"),
    ]
    assert left_share(rows) == (wilson_interval(2, 3), 3)
    assert left_share(votes("t-")) is None


# --- report, table, picture -----------------------------------------------------------------------


def study() -> list[VoteRow]:
    scores = {"reward": (0.0, 1.0)}
    rows = [*votes("ssssf", "ann", scores=scores), *votes("sssft", "bob", scores=scores)]
    return [*rows, *votes("st", "ann", question="alignment")]


def test_the_report_says_each_figure_with_its_interval() -> None:
    """Pairs' shares for tuned: 1, 1, 1, 1/2, 1/4: 3.75 of 5. The reward always says tuned: 7 of the 9 sides taken;
    by pair 1, 1, 1, 1/2, 0 of 5."""
    text = summary("mine", study())
    rate, agree = wilson_interval(3.75, 5), wilson_interval(3.5, 5)
    assert "Study mine: 12 votes by 2 voters: ann (7), bob (5)" in text
    assert "tuned against base: 7 wins, 2 losses, 1 tie, 0 skips" in text
    assert f"tuned wins 75.0% ({rate.low:.1%} to {rate.high:.1%}) of 5 pairs, odds 3.00 to 1" in text
    assert f"reward prefers what voters chose in 70.0% ({agree.low:.1%} to {agree.high:.1%}) of 5 pairs" in text
    assert "Cohen's kappa" in text
    assert "alignment: Which picture fits the text better?" in text
    assert "each pair counts once" in text


def test_several_models_are_put_in_order() -> None:
    rows = [
        *votes("ffs", models=("a", "b")),
        *votes("ffs", models=("b", "c")),
        *votes("ffffs", models=("a", "c")),
    ]
    (answer,) = answers(rows)
    assert [s.model for s in answer.strengths] == ["a", "b", "c"]
    assert "Bradley-Terry strengths (log, mean 0): a +0.69" in summary("s", rows)
    assert "strengths: none" in summary("s", [*votes("ff", models=("a", "b")), *votes("f", models=("b", "c"))])


def test_no_votes_are_an_error() -> None:
    with pytest.raises(InputError, match="no vote"):
        summary("s", [])


def test_every_vote_is_a_row_with_its_sides_and_no_formula() -> None:
    scores = {"r": (0.5, 1.5)}
    rows = [
        vote(0, "second", second_left=True, scores=scores, prompt='=HYPERLINK("x")', models=("-base", "tuned")),
        vote(2**60, "tie", scores={}),
    ]
    one, two = csv.DictReader(io.StringIO(votes_csv(rows)))
    assert one["prompt"].startswith("'=")
    assert (one["left"], one["right"], one["choice"], one["winner"]) == ("tuned", "'-base", "left", "tuned")
    assert (one["left r"], one["right r"], one["left picture"]) == ("1.5", "0.5", "y")
    assert one["time"] == "2023-11-14T22:13:20+00:00"
    assert (two["seed"], two["choice"], two["winner"], two["left r"]) == (str(2**60), "tie", "", "")


def test_the_bar_is_as_long_as_the_share() -> None:
    """All for tuned fills the track from 330 to 694; the line of the interval lies on it."""
    picture = np.asarray(chart("mine", votes("ssssssss")))
    assert picture.shape[1] == 900
    row = picture[56 + 38 + 16 + 4]
    blue = np.flatnonzero((np.abs(row.astype(int) - (96, 165, 250)) < 12).all(-1))
    assert 328 <= blue.min() <= 336
    assert 688 <= blue.max() <= 696
    assert chart("<b>" * 80, study()).height > chart("m", study()[:5]).height

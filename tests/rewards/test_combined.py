"""Several rewards as one, one's own rewards, and how far rewards agree: numbers derived by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tastemaker.loaders import InputError
from tastemaker.ranking import agreement, agreements
from tastemaker.ranking.kendall import sampled
from tastemaker.rewards import Statistics, combine, custom, load_reward, measured
from tastemaker.rewards.combined import places, standard_scores
from tests.recorded import Recorded


def fixed(name: str, *values: float):
    """A reward that scores picture i, known by its red level, as values[i]."""
    table = torch.tensor(values)
    return custom(name, lambda images, prompts: table[(images[:, 0, 0, 0] * 10).round().long()], version="1")


def images(count: int) -> torch.Tensor:
    return (torch.arange(count) / 10).view(count, 1, 1, 1).expand(count, 2, 2, 3)


def test_places_share_out_ties() -> None:
    # of 4: 1 is above none; the two 5s above one and half of each other; 9 above all
    assert places(torch.tensor([5.0, 1.0, 9.0, 5.0])).tolist() == pytest.approx([1.5 / 3, 0, 1, 1.5 / 3])
    assert places(torch.tensor([7.0])).tolist() == [0.5]
    assert places(torch.tensor([2.0, 2.0, 2.0])).tolist() == [0.5] * 3


def test_standard_scores() -> None:
    # 1, 3: mean 2, standard deviation of the population 1
    assert standard_scores(torch.tensor([1.0, 3.0])).tolist() == [-1, 1]
    assert standard_scores(torch.tensor([0.1, 0.1, 0.1])).tolist() == [0, 0, 0]


def test_standardised_sums_and_their_parts() -> None:
    known = {"a": Statistics(1.0, 2.0, "made up"), "b": Statistics(0.0, 10.0, "made up")}
    both = combine([(fixed("a", 1.0, 5.0), 1.0), (fixed("b", 10.0, -20.0), 0.5)], statistics=known)
    columns = both.columns(images(2), "")
    assert list(columns) == ["combined", "a", "b"]
    # (1-1)/2 + 0.5*10/10, (5-1)/2 + 0.5*-20/10
    assert columns["combined"].tolist() == [0.5, 1.0]
    assert columns["a"].tolist() == [1, 5]
    assert both.columns(images(2), "")["b"].tolist() == [10, -20]
    assert both(images(2), "").tolist() == [0.5, 1.0]
    assert both(images(2)[1:], "").tolist() == [1.0]  # whatever it is scored with
    assert not both.relative


def test_ranks_inside_each_prompt() -> None:
    a, b = fixed("a", 1.0, 2.0, 30.0, 10.0), fixed("b", 5.0, 5.0, 1.0, 2.0)
    texts = ["x", "x", "y", "y"]
    by_prompt = combine([(a, 1.0), (b, 2.0)], mode="ranks")
    # a: 0 1 | 1 0; b: .5 .5 | 0 1
    assert by_prompt(images(4), texts).tolist() == [1.0, 2.0, 1.0, 2.0]
    everywhere = combine([(a, 1.0), (b, 2.0)], mode="ranks", group_by="all")
    # a: 0 1 3 2 thirds; b: 2.5 2.5 0 1 thirds
    assert everywhere(images(4), texts).tolist() == pytest.approx([5 / 3, 2.0, 1.0, 4 / 3])
    assert by_prompt.relative
    assert by_prompt.fingerprint != everywhere.fingerprint


def test_batch_inside_each_prompt() -> None:
    a = fixed("a", 1.0, 3.0, 10.0, 30.0)
    made = combine([(a, 1.0)], mode="batch")(images(4), ["x", "x", "y", "y"])
    assert made.tolist() == pytest.approx([-1, 1, -1, 1])


def test_small_batches_give_the_same_ranks() -> None:
    table = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0])
    one = custom("a", lambda given, prompts: table[(given[:, 0, 0, 0] * 10).round().long()], batch_size=2)
    assert combine([(one, 1.0)], mode="ranks")(images(5), "p").tolist() == [0.5, 0, 0.25, 1, 0.75]


def test_combined_rewards_combine() -> None:
    inner = combine([(fixed("a", 1.0, 2.0), 1.0), (fixed("b", 2.0, 1.0), 1.0)], mode="ranks", name="inner")
    outer = combine([(inner, 1.0), (fixed("c", 0.0, 1.0), 1.0)], mode="ranks")
    columns = outer.columns(images(2), "p")
    assert list(columns) == ["combined", "inner", "a", "b", "c"]
    assert columns["inner"].tolist() == [1, 1]
    assert columns["combined"].tolist() == [0.5, 1.5]


def test_no_column_hides_another_however_deep() -> None:
    inner = combine([(fixed("a", 1.0), 1.0)], mode="ranks", name="inner")
    middle = combine([(inner, 1.0), (fixed("b", 1.0), 1.0)], mode="ranks", name="middle")
    assert middle.column_names == ("middle", "inner", "a", "b")
    for name, others in (("inner", []), ("a", []), ("outer", [fixed("a", 2.0)]), ("outer", [inner])):
        with pytest.raises(InputError, match="Two columns would have this name"):
            combine([(middle, 1.0), *((other, 1.0) for other in others)], mode="ranks", name=name)


def test_progress_reaches_the_end_once() -> None:
    progress = Recorded()
    both = combine([(fixed("a", *range(10)), 1.0), (fixed("b", *range(10)), 1.0)], mode="ranks")
    both(images(10), "p", progress=progress)
    assert progress.counts == [(4, 10), (5, 10), (9, 10), (10, 10)]  # batches of 8 and 2, twice


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "sum"}, "mode"),
        ({"group_by": "seed"}, "group_by"),
        ({"weighted": []}, "not 0"),
        ({"weighted": [(fixed("a", 1.0), 0.0)]}, "not 0"),
        ({"weighted": [(fixed("a", 1.0), math.nan)]}, "weight of a"),
        ({"weighted": [(fixed("a", 1.0), 1e9)]}, "weight of a"),
        ({"weighted": [(fixed("a", 1.0), True)]}, "weight of a"),
        ({"weighted": [(fixed("a", 1.0), 1.0), (fixed("a", 2.0), 1.0)]}, "name"),
        ({"weighted": [(fixed("combined", 1.0), 1.0)]}, "name"),
        ({"mode": "standardised"}, "No mean and standard deviation are known of a"),
        ({"mode": "standardised", "statistics": {"a": Statistics(0.0, 0.0, "x")}}, "above 0"),
    ],
)
def test_bad_combinations_are_named(change: dict, said: str) -> None:
    given = {"weighted": [(fixed("a", 1.0), 1.0)], "mode": "ranks", **change}
    with pytest.raises(InputError, match=said):
        combine(given.pop("weighted"), **given)


def test_measured_statistics() -> None:
    found = measured(fixed("a", 1.0, 3.0), images(2), "", "two pictures")
    assert (found.mean, found.source) == (2.0, "two pictures")
    assert found.std == pytest.approx(math.sqrt(2))
    with pytest.raises(InputError, match="standard deviation"):
        measured(fixed("a", 1.0, 1.0), images(2), "", "two alike")


# --- agreement --------------------------------------------------------------------------------


def test_kendalls_tau_by_hand() -> None:
    order = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert agreement(order, order) == 1
    assert agreement(order, -order) == -1
    # pairs of 4: six; only (3, 4) the other way round: (5 - 1) / 6
    assert agreement(order, torch.tensor([1.0, 2.0, 4.0, 3.0])) == pytest.approx(4 / 6)
    # one tie in b: 5 agree, none against; sqrt(6 * 5)
    assert agreement(order, torch.tensor([1.0, 2.0, 3.0, 3.0])) == pytest.approx(5 / math.sqrt(30))
    assert agreement(order, torch.zeros(4)) is None


def test_only_pairs_of_a_group_are_compared() -> None:
    a, b = torch.tensor([1.0, 2.0, 30.0, 40.0]), torch.tensor([40.0, 50.0, 1.0, 2.0])
    assert agreement(a, b, ["x", "x", "y", "y"]) == 1
    assert agreement(a, b) == pytest.approx((2 - 4) / 6)


def test_tau_equals_scipy_on_many() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 50, (1500,), generator=generator).float() for _ in range(2))
    b = b + a * 0.3
    assert agreement(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-9)


def test_a_sample_keeps_pairs_of_a_group_together() -> None:
    assert sampled(["x", "y", "x"], 3) == [0, 1, 2]
    pairs = [i % 50 for i in range(100)]  # i and i + 50 belong together
    found = sampled(pairs, 20)
    assert len(found) == 20
    assert sorted(found[1::2]) == [i + 50 for i in sorted(found[::2])]
    assert sampled(["x"] * 100, 20) == list(range(0, 100, 5))
    assert sampled([*range(50), "x", "x"], 20) == [50, 51]  # those alone have no pair
    uneven = sampled(["x"] * 2 + ["y"] * 98, 20)
    assert uneven == [0, 1, *range(2, 100, 10)]
    assert sampled(range(100), 20) == []


def test_every_two_columns() -> None:
    columns = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([2.0, 1.0]), "c": torch.tensor([1.0, 2.0])}
    assert agreements(columns) == {("a", "b"): -1, ("a", "c"): 1, ("b", "c"): -1}


# --- one's own --------------------------------------------------------------------------------


def test_a_function_is_a_reward() -> None:
    bright = custom("bright", lambda given, prompts: given.mean((1, 2, 3)).tolist())
    assert bright(images(3), "").tolist() == pytest.approx([0, 0.1, 0.2])
    assert not bright.differentiable
    with pytest.raises(InputError, match="function"):
        custom("x", "import os")


def test_functions_of_one_name_are_told_apart_unless_they_say_otherwise() -> None:
    def reward(version: str | None):
        return custom("mine", lambda given, prompts: given, version=version)

    assert reward(None).fingerprint != reward(None).fingerprint
    assert reward("2").fingerprint == reward("2").fingerprint != reward("3").fingerprint


def test_the_embedded_reward_has_statistics_of_its_own() -> None:
    tiny, small = load_reward("tiny-imagereward"), load_reward("jpeg-compressibility")
    images = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    want = 2 * (tiny(images, "a red heart") - tiny.statistics.mean) / tiny.statistics.std
    assert combine([(tiny, 2.0)])(images, "a red heart").tolist() == pytest.approx(want.tolist(), abs=1e-5)
    with pytest.raises(InputError, match="jpeg-compressibility"):  # a JPEG's size depends on the picture's
        combine([(tiny, 1.0), (small, 1.0)])

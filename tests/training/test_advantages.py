"""Advantages against numbers derived by hand, and rewards that cannot be used."""

from __future__ import annotations

import math

import pytest
import torch

from tastemaker.core.errors import NonFiniteError
from tastemaker.loaders import InputError
from tastemaker.training.advantages import (
    PromptHistory,
    batch_advantages,
    check_rewards,
    group_advantages,
    keep_extremes,
    weighted_sum,
)


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_batch_by_hand() -> None:
    # mean 2, population variance (1 + 0 + 1) / 3: std 0.8165
    assert batch_advantages(scores(1, 2, 3)).tolist() == pytest.approx([-math.sqrt(1.5), 0, math.sqrt(1.5)])


def test_groups_are_compared_with_themselves_only() -> None:
    # a: 1, 3 -> -1, 1; b: 100, 104 -> -1, 1
    found = group_advantages(scores(1, 100, 3, 104), ["a", "b", "a", "b"])
    assert found.tolist() == pytest.approx([-1, -1, 1, 1])


def test_a_small_standard_deviation_counts_as_the_least() -> None:
    # mean 2, deviations -1 and 1: std 1, counted as 4
    assert batch_advantages(scores(1, 3), 4.0).tolist() == pytest.approx([-0.25, 0.25])
    assert batch_advantages(scores(1, 3), 0.5).tolist() == pytest.approx([-1, 1])
    # a: std 1 counted as 2; b: std 3
    found = group_advantages(scores(1, 3, 0, 6), ["a", "a", "b", "b"], 2.0)
    assert found.tolist() == pytest.approx([-0.5, 0.5, -1, 1])


def test_equal_scores_teach_nothing_whatever_they_round_to() -> None:
    """0.1 in float32 eight times has a std of 8e-9 in a float32 mean; 1e4 differs by float32's last bit."""
    same = torch.full((8,), 0.1).double()
    assert batch_advantages(same).tolist() == [0.0] * 8
    last_bit = torch.tensor([1e4, torch.nextafter(torch.tensor(1e4), torch.tensor(2e4)).item()], dtype=torch.float64)
    assert batch_advantages(last_bit).tolist() == [0.0, 0.0]
    assert batch_advantages(scores(0, 0)).tolist() == [0.0, 0.0]
    # small scores that do differ count in full
    assert batch_advantages(scores(1e-9, 3e-9)).tolist() == pytest.approx([-1, 1])


def test_one_picture_has_no_advantage_and_no_nan() -> None:
    assert batch_advantages(scores(3.0)).tolist() == [0.0]
    assert group_advantages(scores(1, 2, 4), ["a", "b", "b"]).tolist() == pytest.approx([0, -1, 1])


def test_extremes_are_kept() -> None:
    advantages = torch.tensor([0.1, -2.0, 1.5, -0.2, 0.0])
    assert keep_extremes(advantages, 1.0).equal(advantages)
    assert keep_extremes(advantages, 0.4).tolist() == pytest.approx([0, -2.0, 1.5, 0, 0])
    assert keep_extremes(advantages, 0.01).tolist() == [0, -2.0, 0, 0, 0]  # never none
    normal = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).double()
    kept = keep_extremes(normal, 0.5)
    # the second moment beyond the quartile q = 0.6745: 0.5 + 2 q phi(q) = 0.9287
    assert float((kept**2).sum() / (normal**2).sum()) == pytest.approx(0.9287, abs=0.01)


def test_prompt_history_by_hand() -> None:
    history = PromptHistory(size=4, minimum=3)
    # first epoch: 2 scores a prompt, below 3: the batch, mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    first = history.advantages(scores(1, 3, 5, 7), ["a", "a", "b", "b"])
    assert first.tolist() == pytest.approx([-3 / math.sqrt(5), -1 / math.sqrt(5), 1 / math.sqrt(5), 3 / math.sqrt(5)])
    # then a has 1 3 5 7: mean 4, variance 5
    second = history.advantages(scores(5, 7), ["a", "a"])
    assert second.tolist() == pytest.approx([1 / math.sqrt(5), 3 / math.sqrt(5)])
    # only the last four are remembered
    history.advantages(scores(9, 9), ["a", "a"])
    assert history.state() == {"a": [5, 7, 9, 9], "b": [5, 7]}


def test_prompt_history_goes_on_where_it_was() -> None:
    one, other = PromptHistory(8, 2), PromptHistory(8, 2)
    one.advantages(scores(1, 2, 4), ["a", "b", "a"])
    other.load(one.state())
    new = scores(3, 5)
    assert other.advantages(new, ["a", "b"]).tolist() == one.advantages(new, ["a", "b"]).tolist()


def test_rewards_are_weighted_after_they_are_normalised() -> None:
    """A reward of a scale of thousands at weight 1 does not drown one of thousandths at weight 2; then the clip."""
    large, small = batch_advantages(scores(0, 1000)), batch_advantages(scores(0.002, 0.001))
    assert weighted_sum([(large, 1.0), (small, 2.0)], 5.0).tolist() == [1.0, -1.0]
    assert weighted_sum([(scores(9, -9), 1.0)], 5.0).tolist() == [5.0, -5.0]
    assert weighted_sum([(scores(9, -9), 1.0)], 5.0).dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_score_is_named_with_its_picture_and_prompt(bad: float) -> None:
    with pytest.raises(NonFiniteError, match=r"taste scored picture 2 of 2 as (nan|inf) \(prompt 'a moon'\)"):
        check_rewards(scores(1.0, bad), "taste", ["a star", "a moon"])


@pytest.mark.parametrize("bad", [scores(1.0), scores(1, 2, 3), torch.zeros(2, 1), 3.0, None])
def test_the_wrong_number_of_scores_is_named(bad: object) -> None:
    with pytest.raises(InputError, match="taste must give one score for each of the 2 pictures"):
        check_rewards(bad, "taste", ["a", "b"])


class _Counted(str):
    """A label that counts how often it is compared with another, by equality or by hash."""

    looked = 0
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        _Counted.looked += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        _Counted.looked += 1
        return str.__hash__(self)


@pytest.mark.parametrize("way", ["group", "prompt"])
def test_advantages_look_at_each_label_a_few_times_however_many_groups(way: str) -> None:
    looked = []
    for count in (200, 400):
        labels = [_Counted(f"group {i // 2}") for i in range(count)]
        values = torch.arange(count, dtype=torch.float64)
        _Counted.looked = 0
        if way == "group":
            group_advantages(values, labels)
        else:
            PromptHistory(32, 2).advantages(values, labels)
        looked.append(_Counted.looked)
    assert looked[1] <= 2.1 * looked[0]
    assert looked[0] <= 10 * 200

"""Ranks, orders and tables, small enough to do by hand."""

from __future__ import annotations

import pytest
import torch

from tastemaker.core.groups import best_first, select_top
from tastemaker.loaders import InputError
from tastemaker.ranking import ScoreTable, rank
from tastemaker.ranking.table import rank_table

SCORES = torch.tensor([0.1, 0.9, 0.5, 0.9])


def table(prompts: tuple[str, ...] = ("a", "a", "b", "b")) -> ScoreTable:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 2, 3) / 4
    return ScoreTable(images, prompts, (10, 11, 12, 13), {"r": SCORES}, "r")


def test_rank_one_is_best_and_ties_share() -> None:
    assert rank(SCORES).tolist() == [4, 1, 3, 1]


def test_rank_inside_groups() -> None:
    assert rank(SCORES, ["a", "a", "b", "b"]).tolist() == [2, 1, 2, 1]


def test_rank_of_one() -> None:
    assert rank(torch.tensor([0.3])).tolist() == [1]


def test_close_scores_are_not_ties() -> None:
    assert rank(torch.tensor([1.0, 1.0 + 1.2e-7])).tolist() == [2, 1]


def test_order_is_stable_for_ties() -> None:
    assert best_first(SCORES) == [1, 3, 2, 0]
    assert best_first(SCORES, ["a", "a", "b", "b"]) == [1, 0, 3, 2]


def test_top_k_of_each_group() -> None:
    assert select_top([1, 0, 3, 2], 1, ["a", "a", "b", "b"]) == ([1, 3], [0, 2])
    assert select_top([1, 3, 2, 0], 2) == ([1, 3], [2, 0])
    assert select_top([1, 0], 0) == ([1, 0], [])
    assert select_top([0], 5) == ([0], [])


def test_a_ranked_table_keeps_its_rows_together() -> None:
    ranked, kept, rejected = rank_table(table(), top_k=1, group_by="prompt")
    assert ranked.seeds == (11, 10, 13, 12)
    assert ranked.prompts == ("a", "a", "b", "b")
    assert ranked.ranks.tolist() == [1, 2, 1, 2]
    assert ranked.images[:, 0, 0, 0].tolist() == [0.25, 0.0, 0.75, 0.5]
    assert (kept, rejected) == ([0, 2], [1, 3])
    best = ranked.rows(kept)
    assert [r["seed"] for r in best.records()] == [11, 13]
    assert best.records()[0] == {
        "rank": 1,
        "score": pytest.approx(0.9),
        "bucket": "great",
        "seed": 11,
        "prompt": "a",
        "name": "",
        "scores": {"r": pytest.approx(0.9)},
    }


def test_ranking_all_as_one() -> None:
    ranked, kept, rejected = rank_table(table(), top_k=2, group_by="all")
    assert ranked.ranks.tolist() == [1, 1, 3, 4]
    assert ranked.seeds == (11, 13, 12, 10)
    assert (kept, rejected) == ([0, 1], [2, 3])


def test_a_table_with_uneven_columns_is_refused() -> None:
    with pytest.raises(InputError, match="seeds"):
        ScoreTable(torch.zeros(2, 2, 2, 3), ("a", "b"), (1,), {"r": SCORES[:2]}, "r")


def test_unknown_grouping() -> None:
    with pytest.raises(InputError, match="group_by"):
        rank_table(table(), top_k=1, group_by="seed")

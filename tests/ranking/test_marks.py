"""Stars and rejections by hand: what a widget may hold, and which rows it means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tastemaker.core.errors import InputError
from tastemaker.images.folder import read_folder
from tastemaker.images.pictures import as_pictures
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.marks import MAX_MARKS, find_marks, marked, parse_marks
from tastemaker.ranking.selection import picture_id
from tastemaker.ranking.table import joined_tables

A, B, C = "0123456789abcdef", "f" * 16, "0" * 16


def test_words_are_ids_with_their_stars() -> None:
    assert parse_marks(f"{A}:5,{B}:0x\n{C}:3p") == ({A: (5, False), B: (-1, False), C: (3, True)}, 0)
    assert parse_marks("") == ({}, 0)


def test_the_last_word_of_an_id_counts_and_none_takes_it_back() -> None:
    assert parse_marks(f"{A}:5p {A}:2") == ({A: (2, False)}, 0)
    assert parse_marks(f"{A}:5 {A}:0") == ({A: (0, False)}, 0)


@pytest.mark.parametrize(
    "word",
    [
        A,
        f"{A}:",
        f"{A}:6",
        f"{A}:-1",
        f"{A}:55",
        f"{A}:5y",
        f"{A.upper()}:5",
        f"{A[1:]}:5",
        "<img src=x>",
        f"{A}:\u0663",
    ],
)
def test_other_words_are_counted_and_left_out(word: str) -> None:
    ratings, unreadable = parse_marks(f"{word} {B}:1")
    assert ratings == {B: (1, False)}
    assert unreadable == len(word.split())


@pytest.mark.parametrize("value", [None, 5, [f"{A}:5"], {A: 5}, b"x"])
def test_what_is_no_text_is_refused_by_name(value: object) -> None:
    with pytest.raises(InputError, match="marks"):
        parse_marks(value)  # type: ignore[arg-type]


def test_it_is_bounded() -> None:
    most = ",".join(f"{i:016x}:5x" for i in range(MAX_MARKS))
    assert len(parse_marks(most)[0]) == MAX_MARKS
    with pytest.raises(InputError, match="at most 4,096 marks"):
        parse_marks(most + "," + most)


def test_rows_are_found_among_the_known_and_behind_them() -> None:
    images = torch.rand(4, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    images[3] = images[1]  # equal pictures have one id
    pictures = as_pictures(images)
    ids = [picture_id(pictures, i) for i in range(4)]
    text = f"{ids[0]}:4p,{ids[1]}:0x,{A}:1,{B}:0"
    assert find_marks(pictures, text, ids) == ((4, -1, 0, -1), (True, False, False, False), 1, 0)
    assert find_marks(pictures, f"{ids[2]}:3", ids[:1]) == ((0, 0, 3, 0), (False,) * 4, 0, 0)


def test_equal_files_whose_ids_are_known_are_marked_together(tmp_path: Path) -> None:
    """As Score finds the marks of Load Images: by content, without the ids of the first rows."""
    for name, grey in (("a", 10), ("b", 90), ("c", 10), ("d", 200)):
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / f"{name}.png")
    pictures = read_folder(tmp_path).pictures
    one = picture_id(pictures, 0)
    assert find_marks(pictures, f"{one}:5").stars == (5, 0, 0, 0)  # of those behind it nothing is read
    for i in range(4):
        pictures.key(i)
    assert find_marks(pictures, f"{one}:5").stars == (5, 0, 5, 0)


def test_marks_of_here_win_over_those_that_came_along_and_can_take_them_back() -> None:
    images = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    table = ScoreTable(
        images, ("a",) * 3, (1, 2, 3), {"r": torch.zeros(3)}, "r", stars=(5, 2, 3), picked=(True, True, False)
    )
    first, second, _ = (picture_id(table.pictures, i) for i in range(3))
    kept, found = marked(table, f"{first}:0,{second}:1x")
    assert (kept.stars, kept.picked) == ((0, -1, 3), None)
    assert found.missing == 0
    assert marked(table, "")[0].picked == (True, True, False)


def test_tables_are_joined_with_their_marks() -> None:
    images = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    plain = ScoreTable(images, ("a",) * 2, (1, 2), {"r": torch.zeros(2)}, "r")
    rated = replace(plain, stars=(4, 0), picked=(False, True))
    joined = joined_tables(plain, rated)
    assert (joined.stars, joined.picked) == ((0, 0, 4, 0), (False, False, False, True))
    assert joined_tables(plain, plain).stars is None


def test_they_go_where_their_rows_go() -> None:
    table = ScoreTable(torch.zeros(3, 8, 8, 3), ("a",) * 3, (1, 2, 3), {"r": torch.zeros(3)}, "r", stars=(5, 0, -1))
    assert table.rows([2, 0]).stars == (-1, 5)
    assert [record["stars"] for record in table.rows([2, 0]).records()] == [-1, 5]
    with pytest.raises(InputError, match="stars"):
        ScoreTable(torch.zeros(3, 8, 8, 3), ("a",) * 3, (1, 2, 3), {"r": torch.zeros(3)}, "r", stars=(5,))

"""Saved tables: names, metadata, CSV that is no program, and the sheet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tastemaker.loaders import InputError
from tastemaker.rewards import ScoreTable
from tastemaker.rewards.save import save_table
from tastemaker.rewards.sheet import GOLD, sheet
from tastemaker.rewards.table import rank_table

HOSTILE = '=HYPERLINK("http://x")'


def ranked(prompts: tuple[str, ...] = (HOSTILE, HOSTILE, "b"), count: int = 3) -> ScoreTable:
    images = torch.rand(count, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    scores = torch.linspace(-1, 1, count)
    table = ScoreTable(images, prompts, tuple(range(count)), {"r": scores}, "r")
    return rank_table(table, top_k=0, group_by="all")[0]


def test_files_sort_best_first_and_carry_their_record(tmp_path: Path) -> None:
    table = ranked()
    saved = save_table(table, tmp_path / "new", "best_00001_", metadata={"prompt": {"1": 2}, "workflow": {}})
    assert [p.name for p in saved.pictures] == sorted(p.name for p in saved.pictures)
    assert saved.pictures[0].name == "best_00001_01_seed2.png"
    with Image.open(saved.pictures[0]) as picture:
        record = json.loads(picture.text["tastemaker"])
        assert json.loads(picture.text["prompt"]) == {"1": 2}
        assert picture.size == (8, 8)
    assert record["rank"] == 1
    assert record["scores"] == {"r": 1.0}
    assert record["seed"] == 2
    listed = json.loads(saved.json.read_text(encoding="utf-8"))
    assert [r["rank"] for r in listed] == [1, 2, 3]
    assert listed[0] == record
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(
        p.name for p in (*saved.pictures, saved.csv, saved.json, saved.sheet, saved.html)
    )


def test_a_spreadsheet_sees_text_not_a_formula(tmp_path: Path) -> None:
    saved = save_table(ranked(), tmp_path, "x_")
    with saved.csv.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["rank", "score", "bucket", "seed", "prompt", "file", "name", "r"]
    assert rows[2][4] == "'" + HOSTILE
    assert float(rows[3][1]) == -1.0  # numbers stay numbers


def test_the_same_table_makes_the_same_bytes(tmp_path: Path) -> None:
    one, two = (save_table(ranked(), tmp_path / n, "x_") for n in "ab")
    for first, second in zip((*one.pictures, *one[1:]), (*two.pictures, *two[1:]), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        save_table(ranked(), tmp_path / "file", "x_")


def test_nan_never_reaches_the_json(tmp_path: Path) -> None:
    table = ScoreTable(torch.rand(1, 4, 4, 3), ("a",), (1,), {"r": torch.tensor([float("nan")])}, "r")
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_table(table, tmp_path, "x_")


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("group_by", ["all", "prompt"])
def test_a_sheet_shows_every_picture(count: int, group_by: str) -> None:
    prompts = tuple("a long prompt that does not fit " * 5 if i % 2 else "b" for i in range(count))
    images = torch.zeros(count, 16, 16, 3)
    images[..., 1] = 1.0  # pure green is used by nothing else on the sheet
    table = ScoreTable(images, prompts, (None,) * count, {"r": torch.zeros(count)}, "r")
    picture = sheet(rank_table(table, top_k=0, group_by=group_by)[0])
    green = sum(1 for pixel in picture.resize(picture.size).getdata() if pixel == (0, 255, 0))
    cell = 160 * 160
    assert count * cell * 0.9 < green <= count * cell


def test_every_first_rank_gets_the_gold_frame() -> None:
    table = ScoreTable(torch.zeros(3, 8, 8, 3), ("a",) * 3, (1, 2, 3), {"r": torch.tensor([1.0, 1.0, 0.0])}, "r")
    picture = sheet(rank_table(table, top_k=0, group_by="all")[0])
    corners = [picture.getpixel((12 + column * 172, 64)) for column in range(3)]
    assert corners == [GOLD, GOLD, (0, 0, 0)]

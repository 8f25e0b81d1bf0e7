"""Saved tables: names, metadata, CSV that is no program, and the sheet."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tastemaker.images.folder import read_folder
from tastemaker.loaders import InputError
from tastemaker.plots.theme import GOLD, TRACK
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.output.save import save_table
from tastemaker.ranking.output.sheet import sheet
from tastemaker.ranking.table import rank_table

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XAP = "http://ns.adobe.com/xap/1.0/"
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


def rating(path: Path) -> str | None:
    """The rating in a PNG's XMP packet, read as XML: by the namespaces, whatever the prefixes are."""
    with Image.open(path) as picture:
        packet = picture.text.get("XML:com.adobe.xmp")
    if packet is None:
        return None
    found = ElementTree.fromstring(packet).find(f".//{{{RDF}}}Description")
    return found.get(f"{{{XAP}}}Rating")


def test_stars_stand_in_the_pictures_as_photo_tools_read_them(tmp_path: Path) -> None:
    table = replace(ranked(count=4, prompts=("a",) * 4), stars=(5, -1, 0, 1))
    saved = save_table(table, tmp_path, "x_")
    assert [rating(path) for path in saved.pictures] == ["5", "-1", None, "1"]
    with saved.csv.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][-2:] == ["stars", "r"]
    assert [row[-2] for row in rows[1:]] == ["5", "-1", "0", "1"]
    assert [r["stars"] for r in json.loads(saved.json.read_text(encoding="utf-8"))] == [5, -1, 0, 1]


def test_stars_of_a_file_join_its_own_xmp_and_leave_the_file_alone(tmp_path: Path) -> None:
    """Two PNGs of a camera's tool: one has a rating of its own and a Latin-1 creator, one has no XMP."""
    source = tmp_path / "mine"
    source.mkdir()
    own = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
        f'xmlns:xmp="{XAP}" xmp:Rating="2" xmp:CreatorTool="caf\u00e9"/></rdf:RDF></x:xmpmeta>'
    )
    for name, packet in (("a", own), ("b", None)):
        info = PngInfo()
        if packet:
            info.add_itxt("XML:com.adobe.xmp", packet)
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(source / f"{name}.png", pnginfo=info)
    before = [path.read_bytes() for path in sorted(source.iterdir())]
    pictures = read_folder(source).pictures
    table = ScoreTable(pictures, ("a", "b"), (None, None), {"r": torch.tensor([1.0, 0.0])}, "r", stars=(4, -1))
    saved = save_table(table, tmp_path / "out", "x_", parts=["pictures"])
    assert [rating(path) for path in saved.pictures] == ["4", "-1"]
    with Image.open(saved.pictures[0]) as picture:
        assert 'xmp:CreatorTool="caf\u00e9"' in picture.text["XML:com.adobe.xmp"]
        assert np.asarray(picture)[0, 0, 0] == 90
    assert [path.read_bytes() for path in sorted(source.iterdir())] == before


def test_no_character_of_a_prompt_begins_a_line(tmp_path: Path) -> None:
    """Spreadsheets end a line at a bare carriage return too, unless it stands in quotes."""
    prompts = ("a\r=1+1", "b\n=1+1", "\r=1+1")
    saved = save_table(ranked(prompts), tmp_path, "x_")
    text = saved.csv.read_bytes().decode("utf-8-sig")
    with saved.csv.open(encoding="utf-8-sig", newline="") as file:
        assert [row[4] for row in csv.reader(file)] == ["prompt", "'\r=1+1", "b\n=1+1", "a\r=1+1"]
    outside = "".join(text.split('"')[::2])
    assert "=1+1" not in outside
    assert outside.count("\r") == outside.count("\n") == outside.count("\r\n") == 4


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


def test_pictures_from_files_keep_every_byte_they_had(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    info = PngInfo()
    info.add_text("workflow", '{"own": 1}')
    Image.new("RGBA", (8, 8), (9, 8, 7, 6)).save(source / "a.png", pnginfo=info)
    Image.new("RGB", (8, 8), "red").save(source / "b.jpg")
    Image.new("RGB", (4, 8), "red").save(source / "c.webp")
    (source / "d.png").write_bytes((source / "b.jpg").read_bytes())  # named wrongly
    pictures = read_folder(source).pictures
    table = ScoreTable(pictures, ("p",) * 4, (5, None, None, None), {"r": torch.tensor([4.0, 3, 2, 1])}, "r")
    ranked = rank_table(table, top_k=0, group_by="all")[0]
    saved = save_table(ranked, tmp_path / "out", "x_", metadata={"workflow": {"ranking": 1}})
    assert [p.name for p in saved.pictures] == ["x_01_seed5.png", "x_02.jpg", "x_03.webp", "x_04.jpg"]
    for i, name in ((1, "b.jpg"), (2, "c.webp"), (3, "d.png")):
        assert saved.pictures[i].read_bytes() == (source / name).read_bytes()
    with Image.open(saved.pictures[0]) as picture:
        assert picture.mode == "RGBA"
        assert picture.getpixel((0, 0)) == (9, 8, 7, 6)
        assert json.loads(picture.text["workflow"]) == {"own": 1}  # how it was made, not how it was ranked
        assert json.loads(picture.text["tastemaker"])["prompt"] == "p"
    again = read_folder(tmp_path / "out")
    assert [file.name for file in again.pictures.files] == [p.name for p in saved.pictures]
    assert again.prompts[0] == "p"
    assert again.seeds[0] == 5
    assert again.skipped == (("x_sheet.png", "a contact sheet of Tastemaker"),)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "gone.png")
    pictures = read_folder(tmp_path).pictures
    (tmp_path / "gone.png").unlink()
    table = ScoreTable(pictures, ("p",), (None,), {"r": torch.zeros(1)}, "r")
    with pytest.raises(InputError, match=r"gone\.png"):
        save_table(table, tmp_path / "out", "x_")


def test_the_disk_is_waited_for_as_often_for_a_hundred_pictures_as_for_two_hundred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    monkeypatch.setattr(os, "sync", lambda: waits.append(-1), raising=False)
    counts = []
    for count in (3, 100, 200):
        waits.clear()
        save_table(ranked(("a",) * count, count), tmp_path / str(count), "x_", parts=["pictures", "csv"])
        counts.append(len(waits))
    assert counts == [4, 2, 2]  # each picture and the list; one for all pictures and the list


def test_only_what_was_asked_for_is_written(tmp_path: Path) -> None:
    saved = save_table(ranked(), tmp_path, "x_", parts=["csv", "html"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x_ranking.csv", "x_ranking.html"]
    assert saved.pictures == []
    assert saved.sheet is None
    for parts in ([], ["exe"]):
        with pytest.raises(InputError, match="parts"):
            save_table(ranked(), tmp_path, "x_", parts=parts)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("group_by", ["all", "prompt"])
def test_a_sheet_shows_every_picture(count: int, group_by: str) -> None:
    prompts = tuple("a long prompt that does not fit " * 5 if i % 2 else "b" for i in range(count))
    images = torch.zeros(count, 16, 16, 3)
    images[..., 1] = 1.0  # pure green is used by nothing else on the sheet
    table = ScoreTable(images, prompts, (None,) * count, {"r": torch.zeros(count)}, "r")
    picture = sheet(rank_table(table, top_k=0, group_by=group_by)[0])
    green = int((np.asarray(picture.convert("RGB")) == (0, 255, 0)).all(-1).sum())
    cell = 160 * 160
    assert count * cell * 0.9 < green <= count * cell


@pytest.mark.parametrize(("of_each", "columns"), [(1, 8), (2, 8), (10, 5)])
def test_a_sheet_of_many_prompts_is_no_strip(of_each: int, columns: int) -> None:
    """Thirty pictures: where a prompt has too few to fill rows, its words stand below each."""
    prompts = tuple(f"prompt {i // of_each}" for i in range(30))
    table = ScoreTable(torch.zeros(30, 8, 8, 3), prompts, (None,) * 30, {"r": torch.arange(30.0)}, "r")
    picture = sheet(rank_table(table, top_k=0, group_by="prompt")[0])
    assert picture.width == 12 + columns * (160 + 12)
    rows, headings = (6, 3) if of_each == 10 else (4, 0)
    cell = 160 + (48 if headings else 66) + 12
    assert picture.height == 64 + rows * cell + headings * 34 + 6


def test_every_first_rank_gets_the_gold_frame() -> None:
    table = ScoreTable(torch.zeros(3, 8, 8, 3), ("a",) * 3, (1, 2, 3), {"r": torch.tensor([1.0, 1.0, 0.0])}, "r")
    picture = sheet(rank_table(table, top_k=0, group_by="all")[0])
    corners = [picture.getpixel((12 + column * 172, 64)) for column in range(3)]
    assert corners == [GOLD, GOLD, (0, 0, 0)]


def test_pictures_of_several_sizes_share_a_sheet(tmp_path: Path) -> None:
    for i, size in enumerate([(400, 200), (200, 400), (2000, 10), (300, 300)]):
        Image.new("RGB", size, (0, 255, 0)).save(tmp_path / f"{i}.png")
    pictures = read_folder(tmp_path).pictures
    (tmp_path / "3.png").unlink()
    table = ScoreTable(pictures, ("a",) * 4, (None,) * 4, {"r": torch.tensor([3.0, 2.0, 1.0, 0.0])}, "r")
    picture = sheet(rank_table(table, top_k=0, group_by="all")[0])
    width = 12 + 4 * (320 + 12)
    assert picture.width == width
    # the first fills its frame's width, the second its height; the last one's file is gone
    assert picture.getpixel((12 + 5, 64 + 160)) == (0, 255, 0)
    assert picture.getpixel((12 + 332 + 5, 64 + 160)) != (0, 255, 0)
    assert picture.getpixel((12 + 332 + 160, 64 + 5)) == (0, 255, 0)
    assert picture.getpixel((12 + 3 * 332 + 160, 64 + 160)) == TRACK

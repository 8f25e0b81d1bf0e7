"""Protocols: the real layouts, what is drawn of them, and metadata that is wrong or hostile."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.evaluation.plan import read_plan, sampling_for
from tastemaker.evaluation.protocols import MJHQ_CATEGORIES, PromptRow, choose_rows, read_protocol
from tastemaker.evaluation.references import protocol_reference
from tastemaker.evaluation.sources import finished_names
from tests.conftest import OFFICIAL
from tests.evaluation.protocol_files import coco, mjhq, parti, picture


def test_mjhq(tmp_path: Path) -> None:
    rows = read_protocol("mjhq-30k", mjhq(tmp_path))
    assert len(rows) == 30
    assert {row.category for row in rows} == set(MJHQ_CATEGORIES)
    assert rows[4] == PromptRow(f"01{1:038x}", "a red circle, art 1", "art", f"mjhq30k_imgs/art/01{1:038x}.jpg")
    assert (tmp_path / rows[4].picture).is_file()
    assert sampling_for("mjhq-30k", {"steps": 3}).height == 1024
    assert sampling_for("mjhq-30k", {"height": 64, "width": 64}).width == 64


def test_a_part_of_mjhq_has_as_many_of_each_category(tmp_path: Path) -> None:
    rows = read_protocol("mjhq-30k", mjhq(tmp_path), count=20, seed=1)
    assert [sum(r.category == c for r in rows) for c in MJHQ_CATEGORIES] == [2] * 10
    assert rows == read_protocol("mjhq-30k", tmp_path, count=20, seed=1)
    assert rows != read_protocol("mjhq-30k", tmp_path, count=20, seed=2)
    with pytest.raises(InputError, match="30 prompts"):
        read_protocol("mjhq-30k", tmp_path, count=31)


def test_a_category_that_runs_out_leaves_its_share_to_the_others() -> None:
    rows = [PromptRow(str(i), "x", "few" if i < 2 else "many") for i in range(10)]
    taken = choose_rows(rows, 7, 0)
    assert [row.category for row in taken] == ["few"] * 2 + ["many"] * 5
    assert [int(row.id) for row in taken] == sorted(int(row.id) for row in taken)


def test_coco_has_one_caption_a_picture(tmp_path: Path) -> None:
    rows = read_protocol("coco-2014", coco(tmp_path), seed=3)
    assert [row.id for row in rows] == [str(1000 + i) for i in range(6)]
    assert all(row.prompt.startswith(f"A blue star {i} ") and row.prompt[-1] in "01234" for i, row in enumerate(rows))
    assert rows[2].picture == "val2014/COCO_val2014_000000001002.jpg"
    assert rows == read_protocol("coco-2014", tmp_path, seed=3)
    assert [r.prompt for r in rows] != [r.prompt for r in read_protocol("coco-2014", tmp_path, seed=4)]
    assert sampling_for("coco-2014", {}).height == 256


def test_parti_prompts_and_own_lists(tmp_path: Path) -> None:
    rows = read_protocol("parti-prompts", parti(tmp_path))
    assert [(r.prompt, r.category) for r in rows] == [("a bowl", "Artifacts"), ('the word "START"', "Abstract")]
    (tmp_path / "prompts.txt").write_text("# mine\na cat\n\n  a dog \n", encoding="utf-8")
    assert [r.prompt for r in read_protocol("own", tmp_path)] == ["a cat", "a dog"]


def test_the_published_parti_prompts_keep_their_quotation_marks(tmp_path: Path) -> None:
    """Lines of the file as published: unquoted, one of them beginning with a quotation mark."""
    for end in (b"\n", b"\r\n"):
        (tmp_path / "PartiPrompts.tsv").write_bytes((OFFICIAL / "PartiPrompts.tsv").read_bytes().replace(b"\n", end))
        rows = {row.prompt: row.category for row in read_protocol("parti-prompts", tmp_path)}
        assert list(rows)[0] == "bond"
        giggle = '"G I G G L E" painted in thick colorful lettering as graffiti on a faded red brick wall with a '
        assert rows[f"{giggle}splotch of exploding white paint."] == "Illustrations"
        stain = 'A glass of red wine tipped over on a couch, with a stain that writes "OOPS" on the couch.'
        assert rows[stain] == "Indoor Scenes"
        assert len(rows) == len((OFFICIAL / "PartiPrompts.tsv").read_text().splitlines()) - 1


def test_a_quotation_mark_without_its_partner_swallows_nothing(tmp_path: Path) -> None:
    (tmp_path / "prompts.tsv").write_text('Prompt\n"hello\na cat\nsay ""\n"a dog"\n')
    assert [row.prompt for row in read_protocol("own", tmp_path)] == ['"hello', "a cat", 'say ""', '"a dog"']


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.tsv"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    """What it leads to would come out in the pictures' metadata."""
    folder = tmp_path / "own"
    folder.mkdir()
    (tmp_path / "secret").write_text("Prompt\npassword\n")
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of the folder"):
        read_protocol("own", folder)
    (folder / name).unlink()
    (folder / "mine").write_text("Prompt\na cat\n")
    (folder / name).symlink_to(folder / "mine")
    assert read_protocol("own", folder)[-1].prompt == "a cat"


def test_a_folder_that_is_a_link_and_a_hub_snapshot_are_read(tmp_path: Path) -> None:
    snapshot, blob = tmp_path / "data--x" / "snapshots" / "abc", tmp_path / "data--x" / "blobs" / "0"
    for folder in (snapshot, blob.parent):
        folder.mkdir(parents=True)
    blob.write_text("a cat\n")
    (snapshot / "prompts.txt").symlink_to(blob)
    (tmp_path / "link").symlink_to(snapshot, target_is_directory=True)
    assert [r.prompt for r in read_protocol("own", tmp_path / "link")] == ["a cat"]


def test_long_lists_are_refused_in_little_memory(tmp_path: Path) -> None:
    for name, text, said in (
        ("prompts.txt", "a\n" * 2**19, "over 100,000 prompts"),
        ("prompts.tsv", "Prompt\n" + "a\n" * 2**19, "over 100,000 prompts"),
        ("prompts.txt", "\n" * 2**20, "no prompts"),
        ("prompts.txt", "a" * (2**24 + 1), "over 16,777,216 bytes"),
    ):
        (tmp_path / name).write_text(text)
        tracemalloc.start()
        with pytest.raises(InputError, match=said):
            read_protocol("own", tmp_path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 45 * 2**20
        (tmp_path / name).unlink()


HOSTILE: dict[str, Any] = {
    "no json": "<html>",
    "a list": [],
    "nothing": {},
    "no prompt": {"a": {"category": "art"}},
    "prompt no text": {"a": {"category": "art", "prompt": 5}},
    "category unknown": {"a": {"category": "<b>", "prompt": "x"}},
    "category a path": {"a": {"category": "../../etc", "prompt": "x"}},
    "category a list": {"a": {"category": ["art"], "prompt": "x"}},
    "id a path": {"../../x": {"category": "art", "prompt": "x"}},
    "id absolute": {"/etc/passwd": {"category": "art", "prompt": "x"}},
    "id hidden": {".ssh": {"category": "art", "prompt": "x"}},
    "id empty": {"": {"category": "art", "prompt": "x"}},
    "id with NUL": {"a\0b": {"category": "art", "prompt": "x"}},
    "one category": {"a": {"category": "art", "prompt": "x"}},
    "huge prompt": {f"i{c}": {"category": c, "prompt": "x" * 20_000} for c in MJHQ_CATEGORIES},
    "surrogate": {f"i{c}": {"category": c, "prompt": "\ud800"} for c in MJHQ_CATEGORIES},
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_wrong_mjhq_metadata_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content = HOSTILE[case]
    (tmp_path / "meta_data.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match="meta_data.json|metadata|categories|characters"):
        read_protocol("mjhq-30k", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"images": [], "annotations": []},
        {"images": [{"id": 1, "file_name": "../x.jpg"}], "annotations": []},
        {"images": [{"id": True, "file_name": "x.jpg"}], "annotations": []},
        {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [{"id": 1, "image_id": 2, "caption": "x"}]},
        {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [{"id": 1, "image_id": 1, "caption": None}]},
        {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [{"id": 1, "image_id": [1], "caption": "x"}]},
        {"images": {"id": 1}, "annotations": []},
        [1],
    ],
)
def test_wrong_coco_metadata_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "captions_val2014.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"captions_val2014.json|metadata"):
        read_protocol("coco-2014", tmp_path)


@pytest.mark.parametrize("text", ["", "Text\tCategory\nx\ty\n", "Prompt\tCategory\nx\n", "Prompt\n \n\t\n"])
def test_wrong_tables_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "PartiPrompts.tsv").write_text(text)
    with pytest.raises(InputError):
        read_protocol("parti-prompts", tmp_path)


def test_missing_files_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="meta_data.json"):
        read_protocol("mjhq-30k", tmp_path)
    with pytest.raises(InputError, match="protocol"):
        read_protocol("../x", tmp_path)


def test_finished_pictures_are_found_by_name_id_or_number(tmp_path: Path) -> None:
    rows = [PromptRow("a1", "x", "art", "mjhq30k_imgs/art/a1.jpg"), PromptRow("b2", "y", "food"), PromptRow("c3", "z")]
    for name in ("art/a1.png", "b2.jpg", "000002.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert finished_names(rows, 1, lambda name: (tmp_path / name).is_file()) == ("art/a1.png", "b2.jpg", "000002.webp")
    assert finished_names(rows, 1, lambda name: False)[1] == "000001.png"


@pytest.mark.parametrize("category", ["../secret", "/etc", "a/b", ""])
def test_a_category_of_a_table_becomes_no_path(category: str) -> None:
    asked: list[str] = []
    assert finished_names([PromptRow("1", "x", category)], 1, lambda name: bool(asked.append(name))) == ("000000.png",)
    assert asked
    assert all("/" not in name for name in asked)


def test_categories_are_few_and_none_is_called_as_all_of_them(tmp_path: Path) -> None:
    for categories, wrong in ((["art", "overall"], "overall"), ([f"c{i}" for i in range(201)], "201 categories")):
        (tmp_path / "prompts.tsv").write_text("Prompt\tCategory\n" + "\n".join(f"x\t{c}" for c in categories))
        with pytest.raises(InputError, match=wrong):
            read_protocol("own", tmp_path)


def test_the_reference_is_every_real_picture_however_few_prompts(tmp_path: Path) -> None:
    coco(tmp_path, count=6)
    assert len(read_protocol("coco-2014", tmp_path, count=2)) == 2
    assert len(protocol_reference("coco-2014", tmp_path, tmp_path / "kept").source) == 6


def test_files_of_a_reference_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a heart")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        picture(i).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    found = protocol_reference("own", tmp_path, tmp_path / "kept")
    assert len(found.source) == 2
    assert "1 files of the reference, pictures, are left out; broken.png" in found.notes[0]


GOOD: dict[str, Any] = {
    "protocol": "own",
    "folder": ".",
    "models": [{"title": "one", "model": "tiny-sdxl"}],
    "output": "out",
}


@pytest.mark.parametrize(
    "change",
    [
        {"protocl": "own"},
        {"models": []},
        {"models": [{"title": "x"}]},
        {"models": [{"title": "x", "model": "a", "pictures": "b"}]},
        {"models": [{"title": "../x", "model": "a"}]},
        {"models": [{"title": "x", "model": "a"}, {"title": "x", "model": "b"}]},
        {"models": [{"title": "x", "model": 5}]},
        {"sampling": {"stps": 5}},
        {"sampling": {"steps": 0}},
        {"settings": {"images_per_prompt": "2"}},
        {"count": True},
        {"dtype": "int8"},
        {"rewards": "clip-score"},
    ],
)
def test_wrong_plans_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(GOOD))
    assert read_plan(path).base == tmp_path
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError):
        read_plan(path)


def test_plans_that_are_no_json_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ModelFileError):
        read_plan(tmp_path / "plan.json")

"""Folders in a real ComfyUI server: read, scored, ranked and saved; cancelled and gone on with; hostile names."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PROMPT = "a large red heart on a blue background"
READ = {
    "folder": "output/mine",
    "subfolders": False,
    "prompts_from": "auto",
    "default_prompt": "",
    "without_prompt": "keep",
    "order": "name",
    "max_pictures": 1000,
    "as_batch": False,
}


def graph(**changes: Any) -> dict[str, Any]:
    """Load Images to Save Ranked; `changes` are Load Images' widgets."""
    return {
        "1": {"class_type": "TastemakerLoadImages", "inputs": READ | changes},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "float32"}},
        "3": {
            "class_type": "TastemakerScore",
            "inputs": {"images": ["1", 0], "prompts": ["1", 1], "reward": ["2", 0], "cache": True},
        },
        "4": {"class_type": "TastemakerRank", "inputs": {"scores": ["3", 0], "top_k": 3, "group_by": "all"}},
        "5": {
            "class_type": "TastemakerSaveRanked",
            "inputs": {"scores": ["4", 2], "filename_prefix": "ranked/r", "pictures": True, "html": True},
        },
    }


def report(result: Any, node: str) -> str:
    return result.outputs[node]["tastemaker_report"][0]


def noise(path: Path, seed: int, size: tuple[int, int] = (64, 64), texts: dict[str, str] | None = None) -> None:
    info = PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, value)
    path.parent.mkdir(exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(array).save(path, **({"pnginfo": info} if path.suffix == ".png" else {}))


@pytest.fixture
def mine(server: Any, client: Any) -> Iterator[Path]:
    """A folder of twelve pictures of three sizes under the output folder, and no score remembered."""
    folder = server.output / "mine"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.rmtree(server.base / "user" / "__tastemaker", ignore_errors=True)
    shutil.rmtree(server.output / "ranked", ignore_errors=True)
    for i in range(12):
        record = json.dumps({"prompt": PROMPT, "seed": 100 + i})
        noise(folder / f"p{i}.png", i, [(64, 64), (96, 64), (64, 80)][i % 3], {"tastemaker": record})
    client.free()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_mixed_and_partly_broken_folder_end_to_end(server: Any, client: Any, mine: Path) -> None:
    (mine / "page.png").write_text("<html>not found</html>")
    data = (mine / "p4.png").read_bytes()
    (mine / "cut.png").write_bytes(data[: len(data) // 2])
    (mine / "damaged.png").write_bytes(data[:400] + bytes(40) + data[440:])  # only decoding tells
    noise(mine / "photo.jpg", 50, (120, 90))
    (mine / "photo.txt").write_text("a small green ring on a white background")
    noise(mine / "wordless.webp", 51)
    noise(mine / "<img src=x onerror=alert(1)>.png", 52, texts={"parameters": f"{PROMPT}\nSteps: 5, Seed: 9"})
    (mine / os.fsdecode(b"bad\xff.png")).write_bytes(data)
    result = client.run(graph(default_prompt="a white moon"))
    assert result.status == "success", result.error
    found = report(result, "1")
    assert found.startswith("output/mine: 16 pictures\n")
    assert "page.png: is no PNG" in found
    assert "cut.png: ends too early" in found
    assert "cannot be used: 3" in found
    scored = report(result, "3")
    assert "15 of 16 pictures scored" in scored
    assert "damaged.png" in scored
    rows = result.outputs["4"]["tastemaker_ranking"]
    assert len(rows) == 15
    by_name = {row["name"]: row for row in rows}
    assert by_name["photo.jpg"]["prompt"] == "a small green ring on a white background"
    assert by_name["wordless.webp"]["prompt"] == "a white moon"
    assert by_name["p7.png"]["seed"] == 107
    assert by_name["<img src=x onerror=alert(1)>.png"]["seed"] == 9
    saved = result.outputs["5"]
    assert len(saved["images"]) == 3
    names = [entry["filename"] for entry in saved["tastemaker_files"]]
    assert [name.rpartition("_")[2] for name in names] == ["ranking.csv", "ranking.json", "sheet.png", "ranking.html"]
    listed = json.loads((server.output / "ranked" / names[1]).read_text(encoding="utf-8"))
    assert [row["name"] for row in listed] == [row["name"] for row in rows[:3]]


def test_the_second_run_remembers_and_a_new_picture_is_seen(server: Any, client: Any, mine: Path) -> None:
    first = client.run(graph())
    assert first.status == "success", first.error
    assert "known before" not in report(first, "3")
    again = client.run(graph())
    assert set(again.cached) == set("12345")  # nothing changed on disk: the host's own cache
    client.free()
    fresh = client.run(graph())
    assert "12 of 12 pictures scored, 12 known before" in report(fresh, "3")
    rows = [{k: row[k] for k in ("rank", "score", "name", "seed")} for row in first.outputs["4"]["tastemaker_ranking"]]
    assert rows == [
        {k: row[k] for k in ("rank", "score", "name", "seed")} for row in fresh.outputs["4"]["tastemaker_ranking"]
    ]
    noise(mine / "p99.png", 99, texts={"tastemaker": json.dumps({"prompt": PROMPT})})
    seen = client.run(graph())
    assert "13 of 13 pictures scored, 12 known before" in report(seen, "3")
    off = graph()
    off["3"]["inputs"]["cache"] = False
    assert "known before" not in report(client.run(off), "3")


def test_a_damaged_cache_is_said_and_not_fatal(server: Any, client: Any, mine: Path) -> None:
    cache = server.base / "user" / "__tastemaker" / "scores.sqlite"
    cache.parent.mkdir()
    cache.write_bytes(b"no database " * 500)
    result = client.run(graph())
    assert result.status == "success", result.error
    assert "damaged" in report(result, "1")  # whoever opens it first
    client.free()
    assert "12 known before" in report(client.run(graph()), "3")


def test_cancel_in_the_middle_and_go_on(client: Any, mine: Path) -> None:
    for i in range(300):
        noise(mine / f"more{i}.png", 1000 + i, (256, 256))

    def cancel(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data.get("node") == "3" and data["value"] >= 16:
            client.interrupt()

    stopped = client.run(graph(default_prompt=PROMPT), on_message=cancel)
    assert stopped.status == "interrupted"
    client.free()
    result = client.run(graph(default_prompt=PROMPT))
    assert result.status == "success", result.error
    words = report(result, "3")
    known = int(words.partition("scored, ")[2].split(" ")[0])
    assert words.startswith("312 of 312")
    assert 16 <= known < 312


def test_pictures_leave_as_a_batch_or_each_in_its_own_size(client: Any, mine: Path) -> None:
    prompt = graph(as_batch=True)
    prompt["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 3]}}
    mixed = client.run(prompt)
    assert mixed.status == "success", mixed.error
    shown = [Image.open(io.BytesIO(client.file(entry))).size for entry in mixed.outputs["9"]["images"]]
    assert Counter(shown) == {(64, 64): 4, (96, 64): 4, (64, 80): 4}  # one by one, each as large as it is
    assert "images is empty" not in report(mixed, "1")
    for path in mine.iterdir():
        with Image.open(path) as picture:
            size = picture.size
        if size != (64, 64):
            path.unlink()
    equal = client.run(prompt)
    assert equal.status == "success", equal.error
    assert len(equal.outputs["9"]["images"]) == 4


def test_latents_and_masks_follow_their_pictures(client: Any) -> None:
    prompt = graph()
    del prompt["1"]
    prompt["80"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 3, "color": 255}}
    prompt["81"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 3}}
    prompt["82"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}}
    prompt["83"] = {"class_type": "PrimitiveString", "inputs": {"value": PROMPT}}
    prompt["3"]["inputs"] |= {"images": ["80", 0], "prompts": ["83", 0], "latents": ["81", 0]}
    result = client.run(prompt)
    assert result.status == "success", result.error
    prompt["3"]["inputs"]["masks"] = ["82", 0]  # one mask for three pictures
    wrong = client.run(prompt)
    assert wrong.status == "error"
    assert wrong.error["exception_message"].startswith("masks: There are 3 images")


BAD = [
    ("folder", "../../etc"),
    ("folder", "/etc"),
    ("folder", "output/../../etc"),
    ("folder", "output/.."),
    ("folder", "output/."),
    ("folder", "output//mine"),
    ("folder", "output\\mine"),
    ("folder", "temp"),
    ("folder", "models"),
    ("folder", ""),
    ("folder", "output/nowhere"),
    ("folder", "output/a\x00b"),
    ("folder", "output/\u202emine"),
    ("folder", "output/.hidden"),
    ("folder", "output/" + "x" * 3000),
    ("folder", "output/linked_out"),
    ("folder", "output/empty"),
    ("prompts_from", "../x"),
    ("without_prompt", "delete"),
    ("order", "random"),
    ("default_prompt", "x" * 20_000),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda v: repr(v)[:24])
def test_a_bad_value_is_an_error_that_names_the_input(
    server: Any, client: Any, mine: Path, name: str, value: Any
) -> None:
    (server.output / "empty").mkdir(exist_ok=True)
    (server.output / ".hidden").mkdir(exist_ok=True)
    link = server.output / "linked_out"
    if not link.is_symlink():
        link.symlink_to("/usr/share", target_is_directory=True)
    message = client.refusal(graph(**{name: value}))
    assert message.startswith(f"{name}:"), message
    assert "Found:" in message


def test_the_list_of_folders_shows_no_links_and_nothing_hidden(server: Any, client: Any, mine: Path) -> None:
    (server.output / "mine" / "deep").mkdir()
    (server.output / "mine" / "what?").mkdir()  # what is refused is not offered
    (server.output / ".hidden").mkdir(exist_ok=True)
    if not (server.output / "linked_out").is_symlink():
        (server.output / "linked_out").symlink_to("/usr/share", target_is_directory=True)
    spec = client.get("/object_info/TastemakerLoadImages")["TastemakerLoadImages"]["input"]["required"]["folder"]
    listed = json.dumps(spec)
    assert '"input"' in listed
    assert '"output"' in listed
    assert '"output/mine"' in listed
    assert '"output/mine/deep"' in listed
    assert "hidden" not in listed
    assert "what" not in listed
    assert "linked_out" not in listed
    assert "/usr" not in listed


def test_a_reward_that_needs_prompts_says_which_picture_has_none(client: Any, mine: Path) -> None:
    noise(mine / "wordless.png", 3)
    result = client.run(graph())
    assert result.status == "error"
    assert "1 of 13 pictures have none, wordless.png first" in result.error["exception_message"]
    left = client.run(graph(without_prompt="leave out"))
    assert left.status == "success", left.error
    assert "wordless.png: no prompt in the file" in report(left, "1")


def test_what_is_written_is_chosen(server: Any, client: Any, mine: Path) -> None:
    prompt = graph()
    parts = {"pictures": False, "csv": True, "json": False, "sheet": False, "html": False}
    prompt["5"]["inputs"] |= parts
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert [entry["filename"] for entry in result.outputs["5"]["tastemaker_files"]] == ["r_00001_ranking.csv"]
    assert [p.name for p in (server.output / "ranked").iterdir()] == ["r_00001_ranking.csv"]
    prompt["5"]["inputs"] |= {"csv": False}
    nothing = client.run(prompt)
    assert nothing.status == "error"
    assert "Switch on at least one" in nothing.error["exception_message"]


def test_the_workflow_that_ranks_a_folder(server: Any, client: Any, workflow: Any, mine: Path) -> None:
    """As it comes it reads what best_of_batch saved; here pictures of ours stand in that folder."""
    made = server.output / "tastemaker"
    shutil.rmtree(made, ignore_errors=True)
    missing = client.run_workflow(workflow("rank_folder"))
    assert missing.status == "error"
    assert "folder: There is no such folder" in missing.error["exception_message"]
    shutil.copytree(mine, made)
    before = sorted(p.name for p in made.iterdir())
    result = client.run_workflow(workflow("rank_folder"))
    assert result.status == "success", result.error
    saved = next(o for o in result.outputs.values() if "tastemaker_files" in o)
    assert len(saved["images"]) == 4
    assert {entry["subfolder"] for entry in saved["images"]} == {"tastemaker_ranked"}
    assert sorted(p.name for p in made.iterdir()) == before  # what was read stays as it was
    shutil.rmtree(made)
    shutil.rmtree(server.output / "tastemaker_ranked")


def test_the_workflow_that_compares_rewards(client: Any, workflow: Any) -> None:
    result = client.run_workflow(workflow("compare_rewards"))
    assert result.status == "success", result.error
    ranked = [o["tastemaker_ranking"] for o in result.outputs.values() if "tastemaker_ranking" in o]
    assert [len(rows) for rows in ranked] == [12, 12]
    assert all(list(row["scores"]) == ["combined", "tiny-imagereward", "jpeg-compressibility"] for row in ranked[0])
    tops = {max(rows[0]["scores"], key=lambda name: rows[0]["score"] == rows[0]["scores"][name]) for rows in ranked}
    assert tops == {"combined", "jpeg-compressibility"}
    for rows in ranked:
        assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    scores = {row["id"]: row["scores"] for row in ranked[0]}
    assert all(scores[row["id"]] == row["scores"] for rows in ranked for row in rows)


def test_marks_made_before_scoring_go_on_and_those_made_later_win(server: Any, client: Any, mine: Path) -> None:
    noise(
        sorted(mine.iterdir())[2], 777, texts={"parameters": f"{PROMPT}\nSteps: 5, Seed: 9"}
    )  # of the others there are small copies, by another test
    ids = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(mine.iterdir())[:4]]
    prompt = graph(marks=f"{ids[0]}:5,{ids[1]}:0x,{ids[2]}:2p,{ids[3]}:3p,{'0' * 16}:1 nonsense")
    prompt["3"]["inputs"]["marks"] = f"{ids[1]}:4,{ids[3]}:0"  # taken back
    prompt["4"]["inputs"] |= {"marks": f"{ids[0]}:1", "picks": ids[0]}
    prompt["5"]["inputs"]["scores"] = ["4", 6]  # what is picked
    result = client.run(prompt)
    assert result.status == "success", result.error
    loaded = {row["id"]: row for row in result.outputs["1"]["tastemaker_cull"]}
    assert len(loaded) == 12
    assert loaded[ids[2]]["thumb"] == {
        "filename": sorted(mine.iterdir())[2].name,
        "subfolder": "mine",
        "type": "output",
    }
    assert "1 with stars or rejected before" in report(result, "1")
    assert "1 words in marks" in report(result, "1")
    scored = {row["id"]: row for row in result.outputs["3"]["tastemaker_cull"]}
    assert [scored[one]["stars"] for one in ids] == [5, 4, 2, 0]
    assert [scored[one]["picked"] for one in ids] == [False, False, True, False]
    assert scored[ids[1]]["carried"] == {"stars": -1, "picked": False}
    ranked = {row["id"]: row for row in result.outputs["4"]["tastemaker_ranking"]}
    assert [ranked[one]["stars"] for one in ids] == [1, 4, 2, 0]
    assert {one for one, row in ranked.items() if row["picked"]} == {ids[0], ids[2]}
    lists = json.loads((server.output / "ranked" / "r_00001_ranking.json").read_text("utf-8"))
    assert sorted(row["stars"] for row in lists) == [1, 2]
    assert {row["rating"] for row in map(rated, sorted((server.output / "ranked").glob("r_00001_0*.png")))} == {
        "1",
        "2",
    }


def test_why_of_a_large_picture_without_fellows_finds_nothing(client: Any, mine: Path) -> None:
    """The attributes of a group are those of small copies, which are softer: that is no difference."""
    noise(mine / "only" / "one.png", 5, (800, 600))
    prompt = graph(folder="output/mine/only", default_prompt="a heart")
    prompt["2"]["inputs"]["reward"] = "jpeg-compressibility"
    prompt["4"] = {"class_type": "TastemakerWhy", "inputs": {"scores": ["3", 0], "reward": ["2", 0], "count": 1}}
    del prompt["5"]
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert result.outputs["4"]["tastemaker_why"][0]["parts"][0]["reasons"] == []


def test_a_mark_of_a_file_that_has_gone_reads_a_large_folder_once(server: Any, client: Any, mine: Path) -> None:
    """Such a mark is looked for behind the first 2,000 too; what was read for it is remembered."""
    data = (mine / "p0.png").read_bytes()
    for i in range(2000):
        (mine / f"x{i}.png").write_bytes(data)
    for path in mine.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))  # what has just changed is not remembered
    prompt = {"1": graph(marks=f"{'0' * 16}:5", max_pictures=3000)["1"]}
    prompt["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert "1 with stars or rejected before" in report(result, "1")
    with closing(sqlite3.connect(server.base / "user" / "__tastemaker" / "scores.sqlite")) as file:
        assert file.execute("SELECT count(*) FROM files").fetchone() == (2012,)


def rated(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        found = re.search(r'xmp:Rating="(-?\d)"', picture.text["XML:com.adobe.xmp"])
    return {"rating": found[1] if found else ""}


@pytest.mark.parametrize(("node", "kind"), [("1", "Load Images"), ("3", "Score")])
def test_marks_that_are_none_stop_before_any_work(client: Any, mine: Path, node: str, kind: str) -> None:
    prompt = graph()
    prompt[node]["inputs"]["marks"] = "0" * 100_000
    assert "marks" in client.refusal(prompt)

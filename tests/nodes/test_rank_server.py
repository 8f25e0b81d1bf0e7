"""Rank, and what explains its scores, in a real ComfyUI server, on tables of every kind: nothing cancels the queue."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.comfy.client import ComfyClient, RunResult
from tests.conftest import ROOT

OUTPUTS = {
    "best": 0,
    "rejects": 1,
    "best scores": 2,
    "all scores": 3,
    "sheet": 4,
    "picked": 5,
    "picked scores": 6,
    "best latents": 7,
    "best masks": 8,
    "best prompts": 9,
    "best seeds": 10,
}
SHOW = 90  # nodes from here on show an output


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("rank")
    (base / "custom_nodes").mkdir()
    shutil.copy(ROOT / "tests" / "nodes" / "tables_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def graph(table: dict[str, Any], rank: dict[str, Any], show: tuple[str, ...] = ()) -> dict[str, Any]:
    """A table, Rank, and a node behind each output named in `show`, in that order from node 90."""
    made = {"count": 6, "side": 32, "prompts": "a", "kind": "batch", "columns": 2, "seeds": True, "extras": False}
    prompt: dict[str, Any] = {
        "1": {"class_type": "TestTable", "inputs": made | table},
        "2": {"class_type": "TastemakerRank", "inputs": {"scores": ["1", 0], "top_k": 2, "group_by": "all"} | rank},
    }
    for i, name in enumerate(show):
        wire = ["2", OUTPUTS[name]]
        kind = "PreviewAny" if name == "best seeds" else "PreviewImage"
        if name.endswith("scores"):
            save = {"scores": wire, "filename_prefix": "t/x"}
            prompt[str(SHOW + i)] = {"class_type": "TastemakerSaveRanked", "inputs": save}
        else:
            prompt[str(SHOW + i)] = {
                "class_type": kind,
                "inputs": {"source" if kind == "PreviewAny" else "images": wire},
            }
    return prompt


def run(client: ComfyClient, *parts: Any) -> RunResult:
    result = client.run(graph(*parts))
    assert result.status == "success", result.error
    return result


def rows(result: RunResult) -> list[dict[str, Any]]:
    return result.outputs["2"]["tastemaker_ranking"]


def summary(result: RunResult) -> dict[str, Any]:
    return result.outputs["2"]["tastemaker_summary"][0]


def shown(result: RunResult, place: int = 0) -> list[dict[str, str]]:
    return result.outputs[str(SHOW + place)]["images"]


def pixels(client: ComfyClient, entry: dict[str, str]) -> np.ndarray:
    with Image.open(io.BytesIO(client.file(entry))) as picture:
        return np.asarray(picture.convert("RGB"))


def assert_same(one: np.ndarray, two: np.ndarray) -> None:
    """Equal but for a level: the host's preview rounds down, ours to the nearest."""
    assert one.shape == two.shape
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 1


def test_the_queue_keeps_its_old_prompts(client) -> None:
    """A prompt from before the new widgets has three inputs."""
    result = run(client, {}, {}, ("best", "rejects"))
    assert [len(shown(result, i)) for i in range(2)] == [2, 4]
    assert [row["kept"] for row in rows(result)] == [True] * 2 + [False] * 4
    assert [row["bucket"] for row in rows(result)] == ["great"] * 2 + ["ok"] * 2 + ["bad"] * 2


def test_the_gallerys_pictures_are_the_pictures(client) -> None:
    """Small ones come as they are; large ones as a copy of 256 pixels and a large view."""
    result = run(client, {"side": 32}, {"top_k": 0}, ("best",))
    for row, entry in zip(rows(result), shown(result), strict=True):
        assert row["thumb"]["type"] == "temp"
        assert row["view"] == row["thumb"]
        assert_same(pixels(client, row["thumb"]), pixels(client, entry))
    large = rows(run(client, {"side": 400, "count": 2}, {"top_k": 0}))[0]
    assert pixels(client, large["thumb"]).shape == (256, 256, 3)
    assert pixels(client, large["view"]).shape == (400, 400, 3)


def test_seeds_beyond_the_pages_numbers_are_told_as_text(client) -> None:
    assert [row["seed_text"] for row in rows(run(client, {"count": 2}, {}))] == [str(2**62), str(2**62 + 1)]


def test_another_column_ranks(client) -> None:
    result = run(client, {}, {"rank_by": "second"})
    assert [row["seed"] - 2**62 for row in rows(result)] == [5, 4, 3, 2, 1, 0]
    assert summary(result)["main"] == "second"
    agreement = summary(result)["agreement"]
    assert agreement == [{"first": "first", "second": "second", "tau": -1.0, "of": 6}]


def test_nothing_kept_blocks_its_branches_and_says_why(client) -> None:
    rank = {"buckets": "scores", "great_from": 9.0, "ok_from": 8.0, "keep": "great"}
    names = ("best", "best scores", "best seeds", "rejects", "all scores", "sheet")
    result = run(client, {}, rank, names)
    ran = {names[int(i) - SHOW] for i in result.outputs if int(i) >= SHOW}
    assert ran == {"rejects", "all scores", "sheet"}
    assert len(shown(result, names.index("rejects"))) == 6
    assert "No picture is kept" in summary(result)["notes"][0]


def test_a_threshold_keeps_what_is_above(client) -> None:
    """Scores are 1, 0.6, 0.2, -0.2, -0.6, -1."""
    rank = {"buckets": "scores", "great_from": 0.9, "ok_from": 0.0, "keep": "ok", "top_k": 0}
    result = run(client, {}, rank, ("best", "rejects"))
    assert [len(shown(result, i)) for i in range(2)] == [3, 3]
    assert summary(result)["buckets"] == {"great": 1, "ok": 2, "bad": 3}


def test_picks_go_on_and_strange_ones_are_told(client, server) -> None:
    first = rows(run(client, {}, {}))
    picks = f"{first[3]['id']}, {first[0]['id']} {'0' * 16} ../../etc"
    result = run(client, {}, {"picks": picks}, ("picked", "picked scores"))
    assert [row["picked"] for row in rows(result)] == [True, False, False, True, False, False]
    assert_same(pixels(client, shown(result)[1]), pixels(client, first[3]["thumb"]))
    assert len(result.outputs[str(SHOW + 1)]["images"]) == 2
    notes = " ".join(summary(result)["notes"])
    assert "1 picked before are not among these pictures" in notes
    assert "1 words in picks are no picture ids" in notes


def test_stars_and_rejections_go_on_into_the_saved_files(client, server) -> None:
    first = rows(run(client, {}, {}))
    marks = f"{first[0]['id']}:5,{first[1]['id']}:2x {'0' * 16}:3 {first[2]['id']}:9 ../../etc"
    result = run(client, {}, {"marks": marks, "top_k": 3}, ("best scores",))
    notes = " ".join(summary(result)["notes"])
    assert "1 with stars or rejected before are not among these pictures" in notes
    assert "2 words in marks are no marks" in notes
    ratings = []
    for entry in shown(result):
        with Image.open(io.BytesIO(client.file(entry))) as picture:
            found = re.search(r'xmp:Rating="(-?\d)"', picture.text.get("XML:com.adobe.xmp", ""))
            ratings.append(found and found[1])
            assert "workflow" in picture.text or "prompt" in picture.text
    assert ratings == ["5", "-1", None]


def test_no_picks_block_their_branch_only(client) -> None:
    result = run(client, {}, {}, ("picked", "best"))
    assert str(SHOW) not in result.outputs
    assert len(shown(result, 1)) == 2


def test_pictures_of_several_sizes(client) -> None:
    """Each leaves as large as it is, one after the other, for any node behind; padded or cropped for who asks."""
    for changes in ({}, {"sizes": "block"}):  # what workflows said before there was each
        own = run(client, {"kind": "sizes"}, changes, ("best", "sheet"))
        assert [pixels(client, entry).shape for entry in shown(own)] == [(32, 32, 3), (32, 64, 3)]
        assert summary(own)["notes"] == []
    for sizes in ("pad", "crop"):
        result = run(client, {"kind": "sizes"}, {"sizes": sizes}, ("best",))
        assert [pixels(client, entry).shape for entry in shown(result)] == [(32, 32, 3)] * 2
    padded = pixels(client, shown(run(client, {"kind": "sizes"}, {"sizes": "pad"}, ("best",)))[1])
    assert padded[:8].max() == 0
    assert padded[8:24].max() > 0
    assert [row["name"] for row in rows(result)][:2] == ["picture 0.png", "picture 1.png"]


def test_a_file_that_was_changed_stops_only_the_images_it_is_in(client) -> None:
    result = run(client, {"kind": "changed"}, {"sizes": "pad"}, ("best", "rejects"))
    assert str(SHOW) not in result.outputs
    assert len(shown(result, 1)) == 4
    notes = " ".join(summary(result)["notes"])
    assert "The output 'best' is empty" in notes
    assert "was changed since its folder was read; read its folder again. Found: 'picture 1.png'" in notes


def test_what_belongs_to_the_best_comes_along(client) -> None:
    prompt = graph({"extras": True, "prompts": "a\nb"}, {"group_by": "prompt", "top_k": 1}, ("best seeds",))
    prompt["80"] = {"class_type": "SaveLatent", "inputs": {"samples": ["2", 7], "filename_prefix": "t/l"}}
    prompt["81"] = {"class_type": "MaskToImage", "inputs": {"mask": ["2", 8]}}
    prompt["82"] = {"class_type": "PreviewImage", "inputs": {"images": ["81", 0]}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert result.outputs["90"]["text"] == [str(2**62), str(2**62 + 1)]
    assert result.outputs["80"]["latents"]
    assert "82" not in result.outputs  # no masks: that branch is quiet


def test_unknown_seeds_block_their_branch_only(client) -> None:
    result = run(client, {"seeds": False}, {}, ("best seeds", "best"))
    assert str(SHOW) not in result.outputs
    assert len(shown(result, 1)) == 2


def test_ten_thousand_pictures(client) -> None:
    """The gallery has 500, the culling view 2,000; every picture is ranked."""
    result = run(client, {"count": 10_000, "kind": "sizes", "side": 8, "prompts": "a\nb\nc"}, {"top_k": 3})
    assert len(rows(result)) == 2000
    assert summary(result)["shown"] == 500
    assert summary(result)["total"] == 10_000
    notes = " ".join(summary(result)["notes"])
    assert "first 500 of 10,000 pictures; Cull has the first 2,000" in notes
    assert "The output 'rejects' is empty" in notes  # sizes differ


def test_the_agreement_of_many_prompts_is_that_of_their_pairs(client) -> None:
    prompts = "\n".join(f"p{i}" for i in range(1050))
    table = {"count": 2100, "kind": "sizes", "side": 8, "prompts": prompts}
    agreement = summary(run(client, table, {"group_by": "prompt", "top_k": 1}))["agreement"]
    assert agreement == [{"first": "first", "second": "second", "tau": -1.0, "of": 1050}]


def test_one_picture(client) -> None:
    result = run(client, {"count": 1, "columns": 1}, {"top_k": 4}, ("best", "rejects"))
    assert rows(result)[0]["bucket"] == "great"
    assert str(SHOW + 1) not in result.outputs


BAD = [
    ("top_k", -1),
    ("top_k", 5000),
    ("group_by", "../x"),
    ("keep", "none"),
    ("buckets", "<img>"),
    ("sizes", ""),
    ("rank_by", "__class__"),
    ("great_from", float("nan")),
    ("ok_from", float("-inf")),
    ("great_from", -5.0),
    ("picks", "0" * 80_000),
    ("picks", []),
    ("marks", "0" * 90_000),
    ("marks", []),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{n}-{i}" for i, (n, _) in enumerate(BAD)])
def test_a_bad_value_is_refused_by_name_and_the_next_run_works(client, name: str, value: Any) -> None:
    assert name in client.refusal(graph({}, {name: value}))
    assert run(client, {}, {}).status == "success"


# --- Why This Score ---------------------------------------------------------------------------


def why_graph(table: dict[str, Any] | None = None, **why: Any) -> dict[str, Any]:
    """A table, two rewards as one, and the node behind both."""
    made = {"count": 6, "side": 64, "prompts": "a\nb", "kind": "batch", "columns": 2, "seeds": True, "extras": False}
    both = {"reward_1": ["2", 0], "weight_1": 1.0, "reward_2": ["3", 0], "weight_2": 1.0}
    return {
        "1": {"class_type": "TestTable", "inputs": made | (table or {})},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "float32"}},
        "3": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-aesthetic", "dtype": "float32"}},
        "4": {"class_type": "TastemakerCombineRewards", "inputs": {"mode": "ranks", "group_by": "prompt"} | both},
        "5": {"class_type": "TastemakerRank", "inputs": {"scores": ["1", 0], "top_k": 2, "group_by": "prompt"}},
        "6": {"class_type": "TastemakerWhy", "inputs": {"scores": ["5", 3], "reward": ["4", 0], "count": 2} | why},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
    }


def test_why_explains_the_best_and_then_the_one_that_was_asked_about(client: Any) -> None:
    result = client.run(why_graph())
    assert result.status == "success", result.error
    shown = result.outputs["6"]["tastemaker_why"]
    assert [row["name"] for row in shown] == ["#1", "#1"]  # the two best by score, of two prompts
    assert [row["fellows"] for row in shown] == [3, 3]
    for row in shown:
        assert [part["reward"] for part in row["parts"]] == ["tiny-imagereward", "tiny-aesthetic"]
        for part in row["parts"]:
            assert part["usual"] is None  # the table has other columns
            effects = [abs(reason["effect"]) for reason in part["reasons"]]
            assert 1 <= len(effects) <= 4
            assert effects == sorted(effects, reverse=True)
            with Image.open(io.BytesIO(client.file(part["heat"]))) as heat:
                assert heat.size == (64, 64)
                assert np.ptp(np.asarray(heat.convert("HSV"))[..., 1].astype(int)) > 20  # grey here, coloured there
    assert len(result.outputs["7"]["images"]) == 4
    ids = [row["id"] for row in result.outputs["5"]["tastemaker_ranking"]]
    asked = client.run(why_graph(pictures=f"{ids[4]},{'0' * 16} nonsense"))
    assert [row["id"] for row in asked.outputs["6"]["tastemaker_why"]] == [ids[4]]
    said = asked.outputs["6"]["tastemaker_report"][0]
    assert "1 that were asked about are not among these pictures" in said
    assert "1 words in pictures are no picture ids" in said
    assert "tiny-aesthetic" in said


def test_why_with_the_tables_own_reward_it_says_how_far_the_group_is(client: Any) -> None:
    prompt = why_graph({"prompts": "a red heart"})
    prompt["8"] = {
        "class_type": "TastemakerScore",
        "inputs": {"images": ["9", 0], "reward": ["2", 0], "prompts": "a heart"},
    }
    prompt["9"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 0xCC2030},
    }
    prompt["6"]["inputs"] |= {"scores": ["8", 0], "reward": ["2", 0], "count": 1}
    result = client.run(prompt)
    assert result.status == "success", result.error
    (row,) = result.outputs["6"]["tastemaker_why"]
    assert row["parts"][0]["usual"] == pytest.approx(row["parts"][0]["score"], abs=1e-5)  # both are the same
    assert row["parts"][0]["reasons"] == []
    assert "nothing that has a name moved it" in result.outputs["6"]["tastemaker_report"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("count", 33), ("pictures", "0" * 90_000), ("scores", "x")],
)
def test_why_refuses_values_that_cannot_be_by_name(client: Any, name: str, value: object) -> None:
    prompt = why_graph(**{"scores": ["1", 0], name: value})
    del prompt["5"]  # no other output, so that nothing else of the prompt runs
    assert name in client.refusal(prompt)


def test_why_of_a_reward_that_needs_a_prompt_says_so(client: Any) -> None:
    prompt = why_graph({"prompts": ""})
    prompt["6"]["inputs"]["reward"] = ["2", 0]
    assert "compares a picture with its prompt" in client.refusal(prompt)


# --- Learn Taste ------------------------------------------------------------------------------


def test_of_too_many_pictures_learn_taste_looks_at_those_with_stars(client: Any) -> None:
    """502, of which 500 can be chosen among: the two that an even spread leaves out have the marks."""
    made = {"count": 502, "side": 8, "prompts": "a", "kind": "sizes", "columns": 1, "seeds": True, "extras": False}
    ids = [f"{i:08x}{8:08x}" for i in sorted({*range(502)} - {i * 502 // 500 for i in range(500)})]
    learn = {"scores": ["1", 0], "reward": ["2", 0], "name": "many", "clicks_first": 0, "clicks": ""}
    prompt = {
        "1": {"class_type": "TestTable", "inputs": made},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "jpeg-compressibility", "dtype": "float32"}},
        "3": {"class_type": "TastemakerLearnTaste", "inputs": learn | {"marks": f"{ids[0]}:5,{ids[1]}:0x"}},
    }
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert len(result.outputs["3"]["tastemaker_cull"]) == 500
    assert len(result.outputs["3"]["tastemaker_taste_summary"][0]["answers"]) == 1

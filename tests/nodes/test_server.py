"""The nodes in a real ComfyUI server, over /prompt and the websocket."""

from __future__ import annotations

import copy
import io
import json
import re
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.comfy.client import ComfyClient, PromptRefused, RunResult
from scripts.comfy.graph import to_prompt

SMALL = {"images_per_prompt": 3, "steps": 4}


def prompt_of(client: ComfyClient, graph: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A workflow's prompt with some widgets changed, wherever they are found."""
    prompt = to_prompt(graph, client.get("/object_info"))
    for name, value in changes.items():
        nodes = [n for n in prompt.values() if name in n["inputs"] and not isinstance(n["inputs"][name], list)]
        assert nodes, name
        for node in nodes:
            node["inputs"][name] = value
    return prompt


def output_with(result: RunResult, key: str) -> dict[str, Any]:
    return next(o for o in result.outputs.values() if key in o)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_pack_loads_without_an_error(server) -> None:
    """How long it takes is measured in benchmarks; that nothing heavy is imported, in tests/test_imports.py."""
    lines = [line for line in server.log.splitlines() if "custom_nodes/tastemaker" in line]
    assert any(" seconds" in line for line in lines), server.log[-2000:]
    assert not [line for line in lines if "IMPORT FAILED" in line]


def test_the_pack_loads_whole(client) -> None:
    names = {n for n in client.get("/object_info") if n.startswith("Tastemaker")}
    assert names == {
        *("TastemakerLoadModel", "TastemakerPrompts", "TastemakerSample", "TastemakerLoadReward"),
        *("TastemakerScore", "TastemakerRank", "TastemakerSaveRanked", "TastemakerSampleOptions"),
        *("TastemakerLoadLoRA", "TastemakerToNative", "TastemakerLoadImages", "TastemakerCombineRewards"),
        *("TastemakerFineTune", "TastemakerFineTuneSettings", "TastemakerRewardCurve", "TastemakerCompare"),
        "TastemakerGrid",
        *("TastemakerPreferenceTune", "TastemakerLearnTaste", "TastemakerPortfolio", "TastemakerWhy"),
        *("TastemakerVote", "TastemakerVoteResult", "TastemakerEvaluate", "TastemakerFID", "TastemakerReport"),
        *("TastemakerSearch", "TastemakerSearchSettings"),
    }


def test_every_input_and_node_explains_itself(client) -> None:
    for name, spec in client.get("/object_info").items():
        if not name.startswith("Tastemaker"):
            continue
        assert spec["description"], name
        for part in ("required", "optional"):
            for widget, entry in spec["input"].get(part, {}).items():
                assert entry[1].get("tooltip"), f"{name}.{widget}"


def test_help_pages_and_templates_are_served(client) -> None:
    assert "tastemaker" in client.get("/workflow_templates")
    import urllib.request

    url = f"{client.address}/extensions/tastemaker/docs/TastemakerRank/en.md"
    with urllib.request.urlopen(url) as answer:
        assert answer.read().startswith(b"# Rank")


@pytest.mark.parametrize("name", ["best_of_batch", "unconditional"])
def test_each_workflow_runs_and_the_second_time_from_cache(server, client, workflow, name: str) -> None:
    graph = workflow(name)
    client.free()
    first = client.run_workflow(graph)
    assert first.status == "success", first.error
    assert first.previews > 0
    assert first.progress
    rows = output_with(first, "tastemaker_ranking")["tastemaker_ranking"]
    assert len(rows) == 16
    assert [r["rank"] for r in rows] == sorted(r["rank"] for r in rows)
    assert [r["score"] for r in rows] == sorted((r["score"] for r in rows), reverse=True)

    second = client.run_workflow(graph)
    assert second.status == "success"
    runnable = {str(n["id"]) for n in graph["nodes"] if n["type"] != "MarkdownNote"}
    assert set(second.cached) == runnable

    saved = output_with(first, "tastemaker_files")
    assert len(saved["images"]) == 4
    best = saved["images"][0]
    with Image.open(server.output / best["subfolder"] / best["filename"]) as picture:
        record = json.loads(picture.text["tastemaker"])
        assert json.loads(picture.text["workflow"]) == graph
        assert "prompt" in picture.text
    assert record["score"] == rows[0]["score"]
    assert record["seed"] == rows[0]["seed"]


def test_running_anew_gives_the_same_bytes(server, client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), **SMALL)
    runs = []
    for _ in range(2):
        client.free()  # forgets cached outputs, so everything is computed again
        result = client.run(prompt)
        assert result.status == "success"
        assert not result.cached
        saved = output_with(result, "tastemaker_files")
        images = [client.file(entry) for entry in saved["images"]]
        table = [client.file(entry) for entry in saved["tastemaker_files"]]
        ranking = output_with(result, "tastemaker_ranking")
        runs.append((images, table, ranking["tastemaker_ranking"], client.file(ranking["tastemaker_sheet"][0])))
    (images, table, rows, shown), (images2, table2, rows2, shown2) = runs
    assert rows == rows2
    assert shown == shown2
    for one, two in zip(images, images2, strict=True):
        assert np.array_equal(pixels(one), pixels(two))
    # the files differ in the counter of their own names only
    names = [re.sub(rb"best_\d{5}", b"best", data) for data in table[:2]]
    assert names == [re.sub(rb"best_\d{5}", b"best", data) for data in table2[:2]]


def test_a_picture_can_be_made_again_from_its_seed(client, workflow) -> None:
    graph = workflow("best_of_batch")
    many = client.run(prompt_of(client, graph, steps=4, images_per_prompt=3, top_k=0, seed=20))
    rows = output_with(many, "tastemaker_ranking")["tastemaker_ranking"]
    place = next(i for i, row in enumerate(rows) if row["seed"] == 22)
    alone = client.run(prompt_of(client, graph, steps=4, images_per_prompt=1, top_k=0, seed=22))
    pair = [
        pixels(client.file(output_with(run, "tastemaker_files")["images"][i])).astype(int)
        for run, i in ((many, place), (alone, 0))
    ]
    assert np.abs(pair[0] - pair[1]).max() <= 1


def test_cancel_stops_within_a_step(client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), steps=400, images_per_prompt=1)
    seen: list[float] = []

    def cancel_at_five(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            seen.append(data["value"])
            if data["value"] == 5:
                client.interrupt()

    result = client.run(prompt, on_message=cancel_at_five)
    assert result.status == "interrupted"
    assert 5 <= max(seen) <= 10  # the message takes a moment to arrive; a step takes milliseconds
    after = client.run(prompt_of(client, workflow("best_of_batch"), **SMALL))
    assert after.status == "success", after.error


def test_several_prompts_are_ranked_each_among_its_own(client, workflow) -> None:
    text = "# a note\na large red heart on a blue background\n\na small green ring on a white background\n"
    prompt = prompt_of(client, workflow("best_of_batch"), text=text, top_k=1, **SMALL)
    result = client.run(prompt)
    rows = output_with(result, "tastemaker_ranking")["tastemaker_ranking"]
    assert [r["rank"] for r in rows] == [1, 2, 3, 1, 2, 3]
    assert len({r["prompt"] for r in rows[:3]}) == 1
    assert sorted(r["seed"] for r in rows) == list(range(7, 13))
    assert len(output_with(result, "tastemaker_files")["images"]) == 2


def test_no_rejects_blocks_that_branch_only(client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), top_k=0, **SMALL)
    rank = next(i for i, n in prompt.items() if n["class_type"] == "TastemakerRank")
    prompt["90"] = {"class_type": "PreviewImage", "inputs": {"images": [rank, 1]}}
    prompt["91"] = {"class_type": "PreviewImage", "inputs": {"images": [rank, 0]}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert "90" not in result.outputs
    assert len(result.outputs["91"]["images"]) == 3


def test_a_plain_text_can_be_the_prompt(client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), **SMALL)
    sample = next(n for n in prompt.values() if n["class_type"] == "TastemakerSample")
    sample["inputs"]["prompts"] = ["80", 0]
    prompt["80"] = {
        "class_type": "PrimitiveString",
        "inputs": {"value": "a large red heart on a blue background"},
    }
    result = client.run(prompt)
    assert result.status == "success", result.error


def test_a_native_picture_can_be_scored(client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), top_k=0)
    score = next(n for n in prompt.values() if n["class_type"] == "TastemakerScore")
    score["inputs"]["images"] = ["80", 0]
    score["inputs"]["prompts"] = ["81", 0]
    prompt["80"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 255},
    }
    prompt["81"] = {"class_type": "PrimitiveString", "inputs": {"value": "a blue picture"}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    rows = output_with(result, "tastemaker_ranking")["tastemaker_ranking"]
    assert [r["rank"] for r in rows] == [1, 1]
    assert rows[0]["seed"] is None


BAD_VALUES = [
    ("model", "../../etc"),
    ("model", ""),
    ("model", "no-such-model"),
    ("reward", "pickle.pt"),
    ("dtype", "float8"),
    ("scheduler", "karras"),
    ("group_by", "seed"),
    ("guidance_scale", float("nan")),
    ("eta", float("nan")),
    ("height", 60),
    ("text", "   "),
    ("text", "# only a note"),
    ("negative_prompt", "x" * 20_000),
    ("filename_prefix", "../escape"),
    ("filename_prefix", "/etc/escape"),
    ("filename_prefix", "a/../../escape"),
    ("filename_prefix", "..\\escape"),
    ("filename_prefix", "C:\\escape"),
    ("filename_prefix", "a\x00b"),
    ("filename_prefix", "a\u202egnp"),
    ("filename_prefix", "CON"),
    ("filename_prefix", "."),
    ("filename_prefix", ""),
    ("filename_prefix", "x" * 300),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=lambda v: repr(v)[:24])
def test_a_bad_value_is_an_error_that_names_the_input(server, client, workflow, name: str, value: Any) -> None:
    before = {p for p in server.base.parent.rglob("*") if "escape" in p.name}
    message = client.refusal(prompt_of(client, workflow("best_of_batch"), **(SMALL | {name: value})))
    assert message.startswith((f"{name}:", "prompts:", "negative_prompt:")), message
    assert "Found:" in message
    assert {p for p in server.base.parent.rglob("*") if "escape" in p.name} == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 2000),
        ("images_per_prompt", 0),
        ("images_per_prompt", 100_000),
        ("seed", -1),
        ("seed", 2**63),
        ("guidance_scale", 0.2),
        ("guidance_scale", float("inf")),
        ("eta", 3.0),
        ("height", -64),
        ("width", 10_000),
        ("top_k", -1),
        ("steps", None),
        ("steps", "many"),
    ],
    ids=repr,
)
def test_a_number_outside_its_range_is_refused_before_it_runs(client, workflow, name: str, value: Any) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), **(SMALL | {name: value}))
    with pytest.raises(PromptRefused) as refused:
        client.run(prompt)
    assert name in json.dumps(refused.value.details)


def test_a_symbolic_link_cannot_lead_outside(server, client, workflow, tmp_path) -> None:
    link = server.output / "linked"
    if not link.is_symlink():
        link.symlink_to(tmp_path, target_is_directory=True)
    prompt = prompt_of(client, workflow("best_of_batch"), filename_prefix="linked/best", **SMALL)
    result = client.run(prompt)
    assert result.status == "error"
    assert "inside the output folder" in result.error["exception_message"]
    assert list(tmp_path.iterdir()) == []


def test_a_model_folder_of_ones_own(server, client, workflow) -> None:
    import shutil

    from tastemaker.loaders import asset_folder

    target = server.base / "models" / "diffusers" / "studio" / "mine"
    shutil.copytree(asset_folder("tiny-sdxl"), target, dirs_exist_ok=True)
    listed = client.get("/object_info/TastemakerLoadModel")["TastemakerLoadModel"]["input"]["required"]["model"]
    assert "studio/mine" in json.dumps(listed)
    good = client.run(prompt_of(client, workflow("best_of_batch"), model="studio/mine", **SMALL))
    assert good.status == "success", good.error
    (target / "unet" / "hook.so").write_text("boom")
    client.free()
    bad = client.run(prompt_of(client, workflow("best_of_batch"), model="studio/mine", **SMALL))
    assert bad.status == "error"
    assert "program code (hook.so)" in bad.error["exception_message"]


def test_unconditional_models_refuse_prompts_in_clear_words(client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), model="tiny-ddpm", **SMALL)
    result = client.run(prompt)
    assert result.status == "error"
    assert "unconditional" in result.error["exception_message"]


def test_the_unload_button_frees_and_the_next_run_works(client, workflow) -> None:
    prompt = prompt_of(client, workflow("best_of_batch"), **SMALL)
    first = client.run(prompt)
    client.free()
    again = client.run(prompt)
    assert again.status == "success"
    key = "tastemaker_ranking"
    assert output_with(first, key)[key] == output_with(again, key)[key]


def test_two_graphs_at_once_do_not_mix(client, server, workflow) -> None:
    """Two clients queue at the same time; each gets its own seeds back."""
    found: dict[int, list[int]] = {}

    def run(seed: int) -> None:
        mine = ComfyClient(server.address)
        prompt = prompt_of(mine, copy.deepcopy(workflow("best_of_batch")), seed=seed, **SMALL)
        rows = output_with(mine.run(prompt), "tastemaker_ranking")["tastemaker_ranking"]
        found[seed] = sorted(row["seed"] for row in rows)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {100: [100, 101, 102], 200: [200, 201, 202]}

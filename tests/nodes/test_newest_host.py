"""The main job on the newest ComfyUI that a package carries; all other tests use the oldest that the pack supports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.comfy import hosts
from scripts.comfy.client import ComfyClient
from scripts.comfy.server import ComfyServer

NEWEST = max(hosts.HOSTS, key=hosts.in_order)


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server of that host; it is downloaded when it is not there yet."""
    try:
        python = hosts.get(NEWEST, page=False)
    except SystemExit as e:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            raise
        pytest.skip(f"ComfyUI {NEWEST} is not there: {e}")
    base = tmp_path_factory.mktemp("newest")
    with ComfyServer(base, comfy=hosts.tree(NEWEST), python=str(python)) as running:
        yield running


def test_it_is_that_version(newest: ComfyServer) -> None:
    stats = ComfyClient(newest.address).get("/system_stats")
    assert stats["system"]["comfyui_version"] == NEWEST
    assert hosts.in_order(NEWEST) >= (0, 30)


def test_best_of_batch_and_then_rank_folder(newest: ComfyServer, workflow: Any) -> None:
    client = ComfyClient(newest.address)
    first = client.run_workflow(workflow("best_of_batch"))
    assert first.status == "success", first.error
    made = list(newest.output.rglob("best_*_seed*.png"))
    assert len(made) == 4
    assert first.previews > 0
    second = client.run_workflow(workflow("rank_folder"))
    assert second.status == "success", second.error
    [rows] = [ui["tastemaker_ranking"] for ui in second.outputs.values() if "tastemaker_ranking" in ui]
    scores = [row["score"] for row in rows]
    assert len(scores) == len(made)
    assert scores == sorted(scores, reverse=True)


def test_nothing_of_ours_is_in_its_log(newest: ComfyServer) -> None:
    """After two workflows: no node that did not load, no deprecation that names the pack."""
    lines = [line for line in newest.log.splitlines() if "tastemaker" in line.lower()]
    assert lines, "the pack did not load"
    assert not [
        line for line in lines if "error" in line.lower() or "deprecat" in line.lower() or "failed" in line.lower()
    ]


def test_what_is_wrong_is_told_as_on_the_others(newest: ComfyServer, workflow: Any) -> None:
    """Newer hosts check lists themselves; where an error of ours says what to do, ours is still the one to be read."""
    client = ComfyClient(newest.address)
    missing = {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "sd_xl_base_1.0.safetensors", "dtype": "auto"}}
    }
    missing["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}}
    message = client.refusal(missing)
    assert message.startswith("model: ")
    assert "hf download" in message
    missing["1"]["inputs"] = {"model": "tiny-sdxl", "dtype": "float8"}
    assert client.refusal(missing).startswith("dtype: ")

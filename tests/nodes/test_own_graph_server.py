"""An artist's own graph in a real ComfyUI: core's KSampler and encoder make the pictures, Score reads the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scripts.comfy.client import ComfyClient, RunResult
from scripts.comfy.graph import to_prompt
from scripts.workflows.stand_ins import OWN_PROMPT, with_stand_ins, write_nodes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a small model in place of a checkpoint."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("own")
    write_nodes(base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


@pytest.fixture
def graph(client: ComfyClient, workflow: Any) -> dict[str, dict[str, Any]]:
    """The template in API form with three pictures of two steps; nodes by their class, the two texts by their title."""
    saved = with_stand_ins(workflow("rank_my_own_graph"))
    prompt = to_prompt(saved, client.get("/object_info"))
    of_kind(prompt, "KSampler")["inputs"]["steps"] = 2
    of_kind(prompt, "EmptyLatentImage")["inputs"]["batch_size"] = 3
    return prompt


def of_kind(prompt: dict[str, Any], kind: str, place: int = 0) -> dict[str, Any]:
    return [node for node in prompt.values() if node["class_type"] == kind][place]


def number(prompt: dict[str, Any], kind: str) -> str:
    return next(name for name, node in prompt.items() if node["class_type"] == kind)


def told(result: RunResult, prompt: dict[str, Any]) -> str:
    assert result.status == "success", result.error
    return result.outputs[number(prompt, "TastemakerScore")]["tastemaker_report"][0]


def rows(result: RunResult, prompt: dict[str, Any]) -> list[dict[str, Any]]:
    return result.outputs[number(prompt, "TastemakerRank")]["tastemaker_ranking"]


def test_prompt_and_seed_come_from_the_graph(client: ComfyClient, graph: dict[str, Any]) -> None:
    result = client.run(graph)
    report = told(result, graph)
    assert f"prompt read from KSampler's positive text: {OWN_PROMPT}" in report
    assert "seed read from KSampler: 7; the 3 pictures of one batch share it" in report
    assert {row["prompt"] for row in rows(result, graph)} == {OWN_PROMPT}
    assert sorted(row["seed"] or 0 for row in rows(result, graph)) == [0, 0, 7]


def test_another_text_is_read_anew_and_the_same_comes_from_cache(client: ComfyClient, graph: dict[str, Any]) -> None:
    score = number(graph, "TastemakerScore")
    assert client.run(graph).status == "success"
    assert score in client.run(graph).cached
    of_kind(graph, "EmptyLatentImage")["inputs"]["batch_size"] = 1
    linked = {"class_type": "PrimitiveString", "inputs": {"value": "a large pink moon"}}
    graph["90"] = linked
    of_kind(graph, "CLIPTextEncode")["inputs"]["text"] = ["90", 0]
    result = client.run(graph)
    assert score not in result.cached
    assert "KSampler's positive text: a large pink moon" in told(result, graph)
    assert "share" not in told(result, graph)
    assert [(row["prompt"], row["seed"]) for row in rows(result, graph)] == [("a large pink moon", 7)]
    linked["inputs"]["value"] = "a large blue moon"
    assert "KSampler's positive text: a large blue moon" in told(client.run(graph), graph)


def test_what_is_wired_goes_first(client: ComfyClient, graph: dict[str, Any]) -> None:
    graph["90"] = {"class_type": "PrimitiveString", "inputs": {"value": "a green ring"}}
    of_kind(graph, "TastemakerScore")["inputs"]["prompts"] = ["90", 0]
    result = client.run(graph)
    assert "prompt read" not in told(result, graph)
    assert "seed read from KSampler: 7" in told(result, graph)
    assert {row["prompt"] for row in rows(result, graph)} == {"a green ring"}


def test_pictures_of_nobody_knows_where_are_refused_in_words(client: ComfyClient, graph: dict[str, Any]) -> None:
    graph["90"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 255}}
    of_kind(graph, "TastemakerScore")["inputs"]["images"] = ["90", 0]
    result = client.run(graph)
    assert result.status == "error"
    assert result.error["exception_message"].startswith(
        "prompts: tiny-imagereward compares a picture with its prompt, and none can be read from the graph. "
        "Connect Prompts, or the text that the pictures were made with. Found: 'no sampler that is known here"
    )


def test_a_reward_without_prompts_scores_them(client: ComfyClient, graph: dict[str, Any]) -> None:
    graph["90"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 255}}
    of_kind(graph, "TastemakerScore")["inputs"]["images"] = ["90", 0]
    of_kind(graph, "TastemakerLoadReward")["inputs"]["reward"] = "jpeg-compressibility"
    result = client.run(graph)
    assert "scored without a prompt: no sampler" in told(result, graph)
    assert [row["seed"] for row in rows(result, graph)] == [None, None]

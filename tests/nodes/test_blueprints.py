"""Blueprints in a real ComfyUI: served where the page looks for them, and what is inside them runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.comfy.client import ComfyClient
from scripts.comfy.graph import widget_names
from scripts.workflows.blueprints import BLUEPRINTS, built
from scripts.workflows.stand_ins import CHECKPOINT_NODE, OWN_PROMPT, write_nodes
from tests.conftest import ROOT

Prompt = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a small model in place of a checkpoint."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("blueprints")
    write_nodes(base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def saved(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))


def opened(name: str, info: dict[str, Any], given: dict[str, Any]) -> tuple[Prompt, dict[str, list[Any]]]:
    """A blueprint as the page sends it: its nodes as "7:<id>", and where its outputs come from.

    `given` has links and values for the subgraph's inputs; widgets that are not in it keep what the file says.
    """
    graph = saved(name)
    inside, outer = graph["definitions"]["subgraphs"][0], graph["nodes"][0]
    widgets = [slot["name"] for slot in outer["inputs"] if "widget" in slot]
    values = dict(zip(widgets, outer["widgets_values"], strict=True)) | given
    links = {link["id"]: link for link in inside["links"]}
    prompt: Prompt = {}
    for node in inside["nodes"]:
        names = widget_names(info[node["type"]])
        inputs = dict(zip(names, node["widgets_values"], strict=True))
        inputs.pop(None, None)
        for slot in node["inputs"]:
            link = links.get(slot["link"])
            if link is None:
                continue
            if link["origin_id"] == -10:
                label = inside["inputs"][link["origin_slot"]]["name"]
                if label in values:
                    inputs[slot["name"]] = values[label]
            else:
                inputs[slot["name"]] = [f"7:{link['origin_id']}", link["origin_slot"]]
        prompt[f"7:{node['id']}"] = {"class_type": node["type"], "inputs": inputs}
    ends = [links[output["linkIds"][0]] for output in inside["outputs"]]
    names = [output["name"] for output in inside["outputs"]]
    sources = [[f"7:{link['origin_id']}", link["origin_slot"]] for link in ends]
    return prompt, dict(zip(names, sources, strict=True))


def own_model() -> Prompt:
    return {
        "1": {"class_type": CHECKPOINT_NODE, "inputs": {"ckpt_name": "any"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": OWN_PROMPT}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}},
    }


def test_the_host_serves_them_and_the_files_are_what_the_code_writes(client: ComfyClient) -> None:
    served = [one for one in client.get("/global_subgraphs").values() if one["source"] == "custom_node"]
    assert {one["name"] for one in served} == set(BLUEPRINTS)
    info = client.get("/object_info")
    for name in BLUEPRINTS:
        assert built(name, info) == saved(name), f"{name}: run make workflows"


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_its_links_lead_where_their_ends_say(name: str) -> None:
    inside = saved(name)["definitions"]["subgraphs"][0]
    nodes = {node["id"]: node for node in inside["nodes"]}
    for link in inside["links"]:
        first = link["origin_id"] == -10
        start = inside["inputs"] if first else nodes[link["origin_id"]]["outputs"]
        end = inside["outputs"] if link["target_id"] == -20 else nodes[link["target_id"]]["inputs"]
        listed = start[link["origin_slot"]]["linkIds" if first else "links"]
        assert link["id"] in listed
        arrived = end[link["target_slot"]]
        assert link["id"] in arrived.get("linkIds", [arrived.get("link")])


def test_best_of_n_gives_the_best_picture_of_a_native_model(client: ComfyClient) -> None:
    small = {"width": 128, "height": 128, "batch_size": 4, "steps": 8, "cfg": 2.0, "seed": 3}
    wires = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "vae": ["1", 2]}
    given = {**wires, **small, "reward": "tiny-imagereward"}
    prompt, outputs = opened("Best of N for any sampler", client.get("/object_info"), given)
    prompt |= own_model() | {"9": {"class_type": "PreviewImage", "inputs": {"images": outputs["best"]}}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    [rows] = [output["tastemaker_ranking"] for output in result.outputs.values() if "tastemaker_ranking" in output]
    assert [row["kept"] for row in rows] == [True, False, False, False]
    assert {row["prompt"] for row in rows} == {OWN_PROMPT}  # read from the graph around it
    assert rows[0]["score"] == max(row["score"] for row in rows)
    assert len(result.outputs["9"]["images"]) == 1


def test_teach_my_taste_waits_for_clicks(client: ComfyClient) -> None:
    pictures: Prompt = {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "auto"}},
        "2": {
            "class_type": "TastemakerSample",
            "inputs": {
                "model": ["1", 0],
                "prompts": ["3", 0],
                "negative_prompt": "",
                "images_per_prompt": 7,
                "seed": 1,
                "scheduler": "ddim",
                "steps": 3,
                "guidance_scale": 2.0,
                "eta": 0.0,
                "height": 0,
                "width": 0,
                "denoise": 1.0,
            },
        },
        "3": {"class_type": "TastemakerPrompts", "inputs": {"text": OWN_PROMPT}},
    }
    given = {"images": ["2", 0], "prompts": ["2", 1], "reward": "tiny-imagereward", "name": "blueprint"}
    prompt, outputs = opened("Teach my taste", client.get("/object_info"), given)
    prompt |= pictures | {"9": {"class_type": "PreviewImage", "inputs": {"images": outputs["best"]}}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    [asked] = [output["tastemaker_taste"] for output in result.outputs.values() if "tastemaker_taste" in output]
    assert len(asked) == 7
    assert "9" not in result.outputs  # no clicks yet: what is behind does not run

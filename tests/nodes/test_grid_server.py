"""Grid in a real ComfyUI server: once and from the cache, cancelled and resumed, LoRAs and models, hostile values."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from PIL import Image

from scripts.comfy.client import ComfyClient
from scripts.workflows.stand_ins import LORA, write_lora

GRID = {
    "columns": "guidance_scale",
    "column_values": "1, 3",
    "rows": "steps",
    "row_values": "1, 2",
    "pages": "none",
    "page_values": "",
    "seed": 0,
    "seeds": 2,
    "negative_prompt": "",
    "scheduler": "ddim",
    "steps": 2,
    "guidance_scale": 2.0,
    "height": 0,
    "width": 0,
}


@pytest.fixture(scope="module", autouse=True)
def lora(server: Any) -> None:
    path = server.base / "models" / "loras" / LORA
    if not path.exists():
        write_lora(path)


def graph(*, shown: tuple[int, ...] = (1, 2), **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "float32"}},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "jpeg-incompressibility", "dtype": "auto"}},
        "3": {"class_type": "TastemakerPrompts", "inputs": {"text": "a red heart on a blue background"}},
        "4": {
            "class_type": "TastemakerGrid",
            "inputs": {"model": ["1", 0], "reward": ["2", 0], "prompts": ["3", 0]} | GRID | changes,
        },
    }
    for slot in shown:
        made[f"1{slot}"] = {"class_type": "PreviewImage", "inputs": {"images": ["4", slot]}}
    return made


def grid_of(result: Any) -> dict[str, Any]:
    assert result.status == "success", result.error
    return result.outputs["4"]["tastemaker_grid"][0]


def test_a_grid_comes_live_and_a_column_more_costs_that_column(server: Any, client: Any) -> None:
    messages: list[dict[str, Any]] = []
    result = client.run(graph(), on_message=lambda kind, data: kind == "tastemaker.grid" and messages.append(data))
    grid = grid_of(result)
    assert grid["state"] == "8 pictures, all of them new"
    assert messages[0]["made"] == []
    live = [place for message in messages[1:-1] for place, _ in message["made"]]
    assert live == list(range(8))  # each once, before the end
    assert result.progress[-1] == (8, 8)  # the scoring
    assert [axis["labels"] for axis in grid["axes"]] == [["1", "3"], ["1", "2"], [""]]
    picture = Image.open(io.BytesIO(client.file(grid["made"][0][1]["view"])))
    assert picture.size == (64, 64)
    assert len(result.outputs["12"]["images"]) == 2  # the best cell's
    sheets = [client.file(entry) for entry in result.outputs["11"]["images"]]
    assert len(sheets) == 1
    assert grid["best_words"] in grid["report"]
    wider = grid_of(client.run(graph(column_values="1, 2, 3")))
    assert wider["state"] == "12 pictures, 4 of them new"
    assert wider["scores"][:2] == grid["scores"][:2]


def test_a_cancelled_grid_goes_on_where_it_was(server: Any, client: Any) -> None:
    many = graph(seed=50, row_values="8, 9", seeds=4, shown=())
    sent = []

    def stop(kind: str, data: dict[str, Any]) -> None:
        if kind == "tastemaker.grid" and data["made"] and not sent:
            sent.append(True)
            client.interrupt()

    assert client.run(many, on_message=stop).status == "interrupted"
    state = grid_of(client.run(many))["state"]
    assert state.startswith("16 pictures, ")
    assert int(state.split()[2]) < 16


def test_models_and_strengths_of_a_lora_are_axes(server: Any, client: Any) -> None:
    made = graph(columns="model", column_values="", rows="lora_strength", row_values="0, 1", seeds=1, shown=(0,))
    lora = {"lora": LORA, "strength": 1.0, "strength_text": 1.0}
    made["5"] = {"class_type": "TastemakerLoadLoRA", "inputs": {"model": ["1", 0]} | lora}
    made["6"] = {"class_type": "TastemakerLoadLoRA", "inputs": {"model": ["5", 0]} | lora | {"strength": 0.5}}
    made["4"]["inputs"] |= {"model": ["5", 0], "model_2": ["6", 0]}
    made["10"] = {"class_type": "TastemakerRank", "inputs": {"scores": ["4", 0], "top_k": 2, "group_by": "all"}}
    result = client.run(made)
    grid = grid_of(result)
    name = LORA.removesuffix(".safetensors")
    assert grid["axes"][0]["labels"] == [f"tiny-sdxl + {name}", f"tiny-sdxl + {name} 1 + {name}"]
    names = {row["name"] for row in result.outputs["10"]["tastemaker_ranking"]}
    assert f"tiny-sdxl + {name}, lora_strength 0" in names  # Rank's gallery says which cell a picture is of


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"column_values": "1; import os"}, "column_values"),
        ({"column_values": "1..1e9"}, "column_values"),
        ({"column_values": "../../etc"}, "column_values"),
        ({"column_values": "1,1"}, "column_values"),
        ({"column_values": "2" * 5000}, "column_values"),
        ({"column_values": "\ud800"}, "column_values"),
        ({"columns": "__class__"}, "columns"),
        ({"rows": "guidance_scale"}, "rows"),
        ({"rows": "scheduler", "row_values": "DDIM"}, "row_values"),
        ({"rows": "lora_strength", "row_values": "1"}, "row_values"),
        ({"rows": "model", "row_values": "2"}, "row_values"),
        ({"pages": "none", "page_values": "3"}, "page_values"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": 256, "column_values": "1..5"}, "seeds"),
        ({"seed": 2**63}, "seed"),
        ({"width": 60}, "width"),
        ({"model_2": ["1", 0]}, "model_2"),
        ({"model_3": ["3", 0]}, "model_3"),
        ({"rows": "eta", "row_values": "0, 1", "scheduler": "euler"}, "row_values"),
    ],
)
def test_what_is_no_grid_is_refused_in_words(client: Any, changes: dict[str, Any], word: str) -> None:
    asked = graph(shown=(), **copy.deepcopy(changes))
    try:
        said = client.refusal(asked)
    except UnicodeEncodeError:
        pytest.skip("the client cannot send it")
    assert said.startswith(f"{word}: ")


def test_what_was_damaged_is_made_again(server: Any) -> None:
    client = ComfyClient(server.address)
    one = graph(seed=900, seeds=1, shown=())
    assert grid_of(client.run(one))["state"] == "4 pictures, all of them new"
    cells = sorted((server.base / "user" / "__tastemaker" / "cells").iterdir(), key=lambda p: p.stat().st_mtime_ns)
    cells[-1].write_bytes(b"<html>")
    client.free()
    assert grid_of(client.run(one))["state"] == "4 pictures, 1 of them new"

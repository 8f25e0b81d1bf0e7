"""Search in a real ComfyUI server: the template's graph, the saved file, refusals, cancel."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.comfy.client import ComfyClient

QUICK = {"method": "best_of_n", "budget": 8, "keep": 2, "seed": 5, "compare": "off", "negative_prompt": ""}
QUICK |= {"scheduler": "ddim", "steps": 2, "guidance_scale": 2.0, "eta": 0.0, "height": 0, "width": 0}


def graph(beside: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    wires: dict[str, Any] = {"model": ["1", 0], "reward": ["2", 0], "prompts": "a large red heart on a blue background"}
    made: dict[str, Any] = {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "float32"}},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "auto"}},
        "3": {"class_type": "TastemakerPrompts", "inputs": {"text": wires["prompts"]}},
        "4": {"class_type": "TastemakerSearch", "inputs": {**wires, **QUICK, "prompts": ["3", 0], **changes}},
        "5": {"class_type": "TastemakerSaveRanked", "inputs": {"scores": ["4", 0], "filename_prefix": "t/found"}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["4", 1]}},
        "7": {"class_type": "PreviewAny", "inputs": {"source": ["4", 2]}},
    }
    if beside is not None:
        made["8"] = {"class_type": "TastemakerSearchSettings", "inputs": beside}
        made["4"]["inputs"]["settings"] = ["8", 0]
    return made


def test_a_search_runs_and_its_picture_is_made_again_from_the_file(
    server: Any, client: ComfyClient, tiny_sdxl: Any
) -> None:
    from tastemaker.search import again

    settings = {"look_every": 1, "look_from": 0.3, "strength": 30.0}
    result = client.run(graph(settings, method="particle steering", steps=4, budget=16, eta=1.0))
    assert result.status == "success", result.error
    assert result.progress
    [shown] = result.outputs["4"]["tastemaker_search"]
    report = shown["report"]
    assert report.startswith("particle steering: best score")
    assert "16 network evaluations" in report
    [looks] = shown["looks"]
    assert [look["step"] for look in looks] == [1, 2, 3, 4]
    assert all(client.file(entry) for look in looks for entry in look["pictures"])
    assert result.outputs["7"]["text"] == [report]
    assert len(result.outputs["6"]["images"]) == 2
    saved = result.outputs["5"]["images"]
    for entry in saved:
        path = server.output / entry["subfolder"] / entry["filename"]
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            record = json.loads(picture.text["tastemaker"])
            pixels = np.asarray(picture.convert("RGB"))
        assert record["made"]["method"] == "particle steering"
        remade = (again(tiny_sdxl, path).images[0] * 255).round().byte().numpy()
        assert np.abs(remade.astype(int) - pixels).max() <= 1  # the server may count its threads otherwise
    assert [row["rank"] for row in json.loads(client.file(result.outputs["5"]["tastemaker_files"][1]))] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 1}, "budget: best_of_n needs at least 1 of 2"),
        ({"method": "particle steering"}, "eta: particle steering needs fresh noise"),
        ({"method": "prune", "scheduler": "euler"}, "scheduler: prune stops between"),
        ({"scheduler": "euler", "eta": 1.0}, "eta: euler has no eta"),
        ({"model": ["2", 0]}, "model"),
        ({"settings": ["1", 0]}, "settings"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_the_inputs_name(
    client: ComfyClient, changes: dict[str, Any], words: str
) -> None:
    assert words in client.refusal(graph(**changes))


def test_cancel_stops_within_a_step(client: ComfyClient) -> None:
    seen: list[float] = []

    def cancel_at_five(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            seen.append(data["value"])
            if data["value"] == 5:
                client.interrupt()

    result = client.run(graph(budget=20_000, steps=200), on_message=cancel_at_five)
    assert result.status == "interrupted"
    assert 5 <= max(seen) <= 10

"""The workflows that ask for models people download: as they are on a server without them, then with small ones."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.workflows.stand_ins import LORA, with_stand_ins, write_stand_ins
from tastemaker.loaders.catalogue import how_to_get, missing_model_entry

WORKFLOWS = ("playground_v2", "refiner", "lora")


@pytest.fixture(scope="module", autouse=True)
def models(server: Any) -> None:
    write_stand_ins(server.base / "models")


def pictures(client: Any, result: Any) -> np.ndarray:
    """(B, H, W, 3) whole numbers of the pictures that a run saved."""
    saved = next(o for o in result.outputs.values() if "images" in o)
    return np.stack(
        [np.asarray(Image.open(io.BytesIO(client.file(e))).convert("RGB"), dtype=int) for e in saved["images"]]
    )


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_model_that_is_asked_for_can_be_had_by_its_name(workflow, name: str) -> None:
    asked = [node for node in workflow(name)["nodes"] if node["type"].startswith("TastemakerLoad")]
    assert asked
    for node in asked:
        entry = missing_model_entry(node["widgets_values"][0])
        assert entry is not None
        assert node["properties"]["models"] == [entry]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_without_the_model_the_error_has_the_command(client, workflow, name: str) -> None:
    result = client.run_workflow(workflow(name))
    assert result.status == "error"
    asked = {n["widgets_values"][0] for n in workflow(name)["nodes"] if n["type"].startswith("TastemakerLoad")}
    message = result.error["exception_message"]
    assert message.startswith(("model: ", "lora: "))
    assert any(how_to_get(missing) in message for missing in asked - {LORA})  # the LoRA is there


def test_playground_v2_makes_two_pictures_of_each_prompt(client, workflow) -> None:
    result = client.run_workflow(with_stand_ins(workflow("playground_v2")))
    assert result.status == "success", result.error
    made = pictures(client, result)
    assert made.shape == (4, 64, 64, 3)
    for picture, background in zip(made, "bbpp", strict=True):  # a heart on blue, a star on purple
        red, green, blue = picture[:4].reshape(-1, 3).mean(0)
        assert blue > 2 * green
        assert (red > 90) == (background == "p")


@pytest.mark.parametrize("name", ["refiner", "lora"])
def test_pairs_stand_side_by_side_and_differ(client, workflow, name: str) -> None:
    result = client.run_workflow(with_stand_ins(workflow(name)))
    assert result.status == "success", result.error
    made = pictures(client, result)
    assert made.shape == (4, 64, 64 + 2 + 64, 3)
    assert (made[:, :, 64:66] == 255).all()
    for pair in made:
        assert np.abs(pair[:, :64] - pair[:, 66:]).mean() > 1

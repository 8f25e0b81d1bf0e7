"""Preference Tune in a real ComfyUI server: from tables, votes and a folder, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tastemaker.images.convert import to_pil
from tests.conftest import ROOT

from .test_vote_server import cast, shown, table
from .test_vote_server import graph as vote_graph

QUICK = {
    **{"epochs": 2, "samples_per_epoch": 4, "group_size": 2, "pairs_per_prompt": 2, "learning_rate": 1e-3, "rank": 2},
    **{
        "preference_form": "matching",
        "proximal_weight": 1.0,
        "beta": 500.0,
        "held_out_share": 0.0,
        "seed": 1,
        "folder": "none",
        "preset": "from settings",
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables, and a folder of pairs."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("preference")
    (base / "custom_nodes").mkdir()
    shutil.copy(ROOT / "tests" / "nodes" / "votes_pack.py", base / "custom_nodes")
    for side, level in (("w", 0.8), ("l", 0.2)):
        folder = base / "input" / "pairs" / side
        folder.mkdir(parents=True)
        for i in range(3):
            to_pil(torch.full((32, 32, 3), level + i / 20)).save(folder / f"{i}.png")
            (folder / f"{i}.txt").write_text("a red heart", encoding="utf-8")
    with ComfyServer(base) as running:
        yield running


def graph(model: str = "tiny-ddpm", **changes: Any) -> dict[str, Any]:
    """Two tables of six pictures, a model, the settings that keep it quick, and Preference Tune."""
    settings = {"group_size": 2, "sample_every": 0, "train_batch_size": 4}
    inputs = {"model": ["10", 0], "settings": ["11", 0], "run_name": "one"} | QUICK | changes
    return {
        "1": table(),
        "2": table(tint=1),
        "10": {"class_type": "TastemakerLoadModel", "inputs": {"model": model, "dtype": "auto"}},
        "11": {"class_type": "TastemakerFineTuneSettings", "inputs": settings},
        "12": {"class_type": "TastemakerPreferenceTune", "inputs": inputs},
    }


@pytest.fixture
def filled(client: Any) -> dict[str, Any]:
    """Fine-Tune Settings' own defaults, as its page would send them."""
    spec = client.get("/object_info")["TastemakerFineTuneSettings"]["input"]
    every = {**spec["required"], **spec.get("optional", {})}
    return {n: e[1].get("default", e[0][0] if isinstance(e[0], list) else None) for n, e in every.items()}


def run_prompt(filled: dict[str, Any], **changes: Any) -> dict[str, Any]:
    prompt = graph(**changes)
    prompt["11"]["inputs"] = filled | prompt["11"]["inputs"]
    return prompt


def message(result: Any) -> dict[str, Any]:
    assert result.status == "success", result.error
    return result.outputs["12"]["tastemaker_training"][0]


def test_a_ranked_table_becomes_a_lora_without_a_reward(server: Any, client: Any, filled: dict[str, Any]) -> None:
    last = message(
        client.run(run_prompt(filled, model="tiny-sdxl", better=["1", 0], held_out_share=0.5, run_name="ranked"))
    )
    assert (last["state"], last["epoch"], len(last["rows"])) == ("done", 2, 2)
    assert [figure["name"] for figure in last["figures"]][:2] == ["loss", "accuracy"]
    assert last["rows"][0]["reward"] is None
    assert last["rows"][0]["evaluation"]["held_out_pairs"] == 1  # of two prompts with three pictures, a pair each
    folder = server.output / "tastemaker" / "runs" / "ranked"
    with safe_open(folder / "lora.safetensors", "pt") as file:
        assert any(key.startswith("lora_unet_") for key in file.keys())  # noqa: SIM118
    identity = json.loads((folder / "config.json").read_text())["identity"]
    assert identity["rewards"] == []
    assert (identity["settings"]["height"], identity["settings"]["width"]) == (24, 24)  # the pictures' own size


def test_two_tables_and_a_mask(client: Any, filled: dict[str, Any]) -> None:
    made = run_prompt(filled, better=["2", 0], worse=["1", 0], mask=["13", 0], run_name="tables", epochs=1)
    made["13"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 32, "height": 32}}
    last = message(client.run(made))
    assert last["rows"][0]["pairs"] == 4  # two pairs at two timesteps


def test_votes_say_which_is_better(server: Any, client: Any, filled: dict[str, Any]) -> None:
    voted = vote_graph(study="taste")
    rows = shown(client.run(voted))
    choices = ["tie" if i == 0 else "skip" if i == 1 else "left" for i in range(len(rows))]
    votes = cast(*((row["token"], choice, 1000 + i) for i, (row, choice) in enumerate(zip(rows, choices, strict=True))))
    made = run_prompt(filled, better=["1", 0], worse=["2", 0], votes=["3", 0], run_name="voted", epochs=1)
    made["3"] = vote_graph(study="taste", votes=votes)["3"]
    [row] = message(client.run(made))["rows"]
    assert row["note"].startswith("1 pair left out: ties. 8 of 8 pictures were scaled")  # four pairs, a tie, a skip


def test_a_folder_of_pairs(server: Any, client: Any, filled: dict[str, Any]) -> None:
    changes = {"folder": "input/pairs", "run_name": "folder", "epochs": 1}
    [row] = message(client.run(run_prompt(filled, **changes)))["rows"]
    assert row["pairs"] == 4
    (server.base / "input" / "pairs" / "w" / "2.png").unlink()  # what was learned from has changed
    error = client.refusal(run_prompt(filled, **{**changes, "epochs": 2}))
    assert "run_name: It holds a run with another preferences" in error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "better: Connect Score or Rank"),
        ({"worse": ["1", 0]}, "worse alone says nothing"),
        ({"better": ["1", 0], "worse": ["1", 0]}, "6 pairs left out: the same picture twice"),
        ({"better": ["1", 0], "folder": "input/pairs"}, "Pairs come from one place"),
        ({"folder": "output"}, "below ComfyUI's input"),
        ({"folder": "input/../output"}, "folder"),
        ({"folder": "input"}, "sub-folders w and l"),
        ({"better": ["1", 0], "run_name": "../x"}, "run_name"),
        ({"better": ["1", 0], "beta": float("inf")}, "beta"),
        ({"better": ["1", 0], "samples_per_epoch": 5}, "samples_per_epoch: It must be a multiple of group_size"),
    ],
)
def test_what_it_refuses(changes: dict[str, Any], words: str, client: Any, filled: dict[str, Any]) -> None:
    assert words in client.refusal(run_prompt(filled, **{"run_name": "no", **changes}))

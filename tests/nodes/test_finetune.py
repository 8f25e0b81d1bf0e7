"""Fine-Tune without a server: its presets, and folders that are reached through links."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from scripts.comfy.locate import find
from tastemaker.training import PRESETS
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    folder = tmp_path_factory.mktemp("output")
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real", target_is_directory=True)
    command = [sys.executable, "-m", "tests.nodes.finetune_probe", str(folder / "link")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def size(settings: dict[str, Any]) -> tuple[int, int]:
    return settings.get("height", 0), settings.get("width", 0)


def test_a_preset_never_asks_for_more_than_a_model_was_trained_at(probe) -> None:
    found = probe["presets"]
    assert size(found["sdxl"]) == (512, 512)
    assert size(found["sdxl 256"]) == (256, 256)
    assert size(found["tiny"]) == (64, 64)
    assert size(found["church"]) == (0, 0)


def test_settings_that_were_changed_go_before_the_preset(probe) -> None:
    plain, changed = probe["presets"]["CPU"], probe["presets"]["CPU changed"]
    assert plain["guidance_scale"] == PRESETS["CPU"]["guidance_scale"]
    assert (changed["guidance_scale"], changed["learn_from"]) == (7.0, 0.25)
    assert changed["window_start"] == 0.6
    assert "window_stop" not in changed  # a window is one thing: the preset's would end before it begins
    assert changed["targets"] == plain["targets"]
    assert probe["presets"]["from settings"] == {"guidance_scale": 7.0}


def test_auto_takes_the_way_that_suits_model_and_reward_unless_something_is_said(probe) -> None:
    assert probe["algorithms"] == {
        "reads the prompt": "matching",
        "looks alone": "reward_gradient",
        "looks alone, small card": "matching",  # no room for the VAE's and the reward's gradients
        "no gradient": "matching",
        "distilled": "clipped",
        "on the node": "clipped",
        "in the settings": "",  # theirs
        "from settings": "",
        "begun": "score",
        "begun long ago": "clipped",
    }


def test_an_algorithm_changes_what_a_preset_sets(probe) -> None:
    matching, card = probe["presets"]["CPU matching"], probe["presets"]["24 GB matching"]
    assert (matching["algorithm"], matching["updates_per_epoch"], matching["timesteps_per_picture"]) == (
        "matching",
        2,
        4,
    )
    assert card["updates_per_epoch"] == 2
    assert "timesteps_per_picture" not in card  # the usual 2
    assert matching["guard"] == card["guard"] == "on"


def test_the_help_page_names_all_that_a_preset_sets(probe) -> None:
    page = (ROOT / "web" / "docs" / "TastemakerFineTune" / "en.md").read_text(encoding="utf-8")
    section = page.split("## What a preset sets\n")[1].split("\n## ")[0]
    cards, cpu = section.split("*CPU* sets")
    named = {
        "CPU": set(re.findall(r"\*\*(\w+)\*\*", cpu.split(".")[0])),
        "GB": set(re.findall(r"\*\*(\w+)\*\*", cards)),
    }
    for kind, names in named.items():
        told = {key for name, values in PRESETS.items() if name.endswith(kind) for key in values}
        assert names == told - set(probe["on_node"])


def test_an_output_folder_may_be_a_link(probe) -> None:
    of_a_run = {"filename": "epoch-000001.png", "subfolder": "tastemaker/runs/my taste/samples", "type": "output"}
    assert probe["linked"]["of a run"] == of_a_run
    assert probe["linked"]["through the link"] == {"filename": "a.png", "subfolder": "", "type": "output"}

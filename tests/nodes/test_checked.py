"""What arrives at every node is checked against its schema: in the host's own classes, and through its server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.comfy.locate import find
from tests.conftest import ROOT

FLOATING = {"half", "one", "minus one", "huge", "hugest"}
PICTURES = {
    *("picture", "pictures", "no pictures", "grey", "transparent", "one pixel", "flat", "nan picture", "loud picture"),
    *("half picture", "double picture", "turned picture", "expanded picture"),
}
TEXTS = {"text", "empty text", "long text", "bidi"}


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    command = [sys.executable, "-m", "tests.nodes.checked_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_node_is_checked_and_every_wire_known(probe) -> None:
    """A new node puts `@checked` below `@classmethod`; a new wire of ours has its line in WIRES."""
    assert probe["unchecked"] == []
    assert probe["unknown"] == []


def test_what_a_node_looks_up_by_itself_is_left_to_it_by_newer_hosts(probe) -> None:
    """`looked_up` of `@checked` and the parameters of `validate_inputs` are the same names."""
    assert probe["unlike"] == []


def test_every_refusal_names_its_input(probe) -> None:
    assert probe["wrong"] == []


def test_no_wire_takes_what_it_does_not_carry(probe) -> None:
    """None is what an optional wire holds that is not connected."""
    taken = {kind: set(names) - {"none"} for kind, names in probe["taken"].items()}
    samples = {"samples", "samples of six channels", "samples of nan", "samples with an odd mask"}
    assert taken["IMAGE"] == PICTURES  # what is in them the nodes look at
    assert taken["LATENT"] == samples
    assert taken["MASK"] == PICTURES | {"mask"}
    assert taken["STRING"] == TEXTS
    assert taken["TASTE_PROMPTS,STRING"] == TEXTS | {"surrogate"}  # prompts are looked at where they are read
    assert taken["BOOLEAN"] == {"true"}
    assert taken.get("COMBO", set()) == set()
    assert taken["FLOAT"] <= FLOATING
    assert taken["INT"] <= FLOATING - {"half"}
    for kind in ("MODEL", "REWARD", "SCORES", "PICTURES", "OPTIONS", "TRAINING", "EVALUATION"):
        assert taken.get(f"TASTE_{kind}", set()) == set(), kind
    assert taken["TASTE_REPORT"] == {"empty tuple"}  # the report of no epoch, which Reward Curve refuses


def test_messages_say_what_was_found_and_what_to_connect(probe) -> None:
    told = probe["messages"]
    assert told["text"] == 'model: expected a TASTE_MODEL, found text "abc". Connect Load Taste Model.'
    assert told["nothing"] == "model: expected a TASTE_MODEL, found nothing. Connect Load Taste Model."
    assert told["shape"].startswith("image: expected an IMAGE")
    assert "found a tensor (2, 3) of float32" in told["shape"]
    assert 'found text "abc"' in told["listed"]
    assert told["nan"] == "weight_1: It must be a number from 0.0 to 1.0. Found: nan."
    assert told["long"].startswith("seed: It must be a whole number from 0 to 5. Found: ")
    assert told["unshowable"] == "cache: It must be true or false. Found: a Unshowable that cannot be shown."
    assert told["combo"] == "mode: Pick one of a, b. Found: ['a']."
    assert "surrogate" in told["surrogate"]


def test_the_librarys_name_for_an_input_becomes_the_nodes(probe) -> None:
    assert probe["messages"]["renamed"] == "reference: Wrong. Found: 5."
    assert probe["messages"]["refused"].startswith("count: It must be a whole number from 1 to 9.")
    assert probe["seen"] == 1  # what is refused never reaches the node


def test_json_where_a_wire_belongs_is_an_error_in_words(client) -> None:
    prompt = {
        "1": {"class_type": "TastemakerToNative", "inputs": {"model": "abc"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    result = client.run(prompt)
    assert result.status == "error"
    assert result.error["exception_message"].strip() == (
        'model: expected a TASTE_MODEL, found text "abc". Connect Load Taste Model.'
    )


@pytest.mark.parametrize(("more", "what"), [("x", "record"), ([1], "record"), ({"\u202e": 1}, "Latin")])
def test_strange_extra_pnginfo(client, tmp_path: Path, more: Any, what: str) -> None:
    prompt = {
        "1": {"class_type": "TastemakerPrompts", "inputs": {"text": "a"}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "3": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "jpeg-compressibility", "dtype": "auto"}},
        "4": {
            "class_type": "TastemakerScore",
            "inputs": {"images": ["2", 0], "prompts": ["1", 0], "reward": ["3", 0], "cache": False},
        },
        "5": {"class_type": "TastemakerSaveRanked", "inputs": {"scores": ["4", 0], "filename_prefix": "odd/x"}},
    }
    result = client.run(prompt, extra={"extra_pnginfo": more})
    assert result.status == "error"
    assert result.error["exception_message"].startswith("extra_pnginfo: ")
    assert what in result.error["exception_message"]

"""Load Taste Model in a real ComfyUI server: what it lists, shares, notices, tells and refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.comfy.client import PromptRefused, RunResult
from tastemaker.loaders import asset_folder
from tests.conftest import ROOT


def load(client: Any, model: object, dtype: str = "auto") -> RunResult:
    """Load a model and show what the node says about it."""
    prompt = {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": model, "dtype": dtype}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}},
    }
    return client.run(prompt)


def told(result: RunResult) -> str:
    assert result.status == "success", result.error
    return result.outputs["2"]["text"][0]


def refused(result: RunResult) -> str:
    assert result.status == "error"
    return result.error["exception_message"]


def not_offered(run: Callable[[], RunResult]) -> str:
    """Return the refusal of a choice that is not in the list: newer hosts say it themselves, before anything runs."""
    try:
        return refused(run())
    except PromptRefused as e:
        return e.message


def listed(client: Any) -> list[str]:
    info = client.get("/object_info/TastemakerLoadModel")["TastemakerLoadModel"]
    spec = info["input"]["required"]["model"]
    return spec[0] if isinstance(spec[0], list) else spec[1]["options"]


@pytest.fixture
def diffusers(server: Any) -> Path:
    return server.base / "models" / "diffusers"


@pytest.fixture
def checkpoints(server: Any) -> Path:
    folder = server.base / "models" / "checkpoints"
    folder.mkdir(exist_ok=True)
    return folder


def test_it_tells_what_was_loaded(client) -> None:
    text = told(load(client, "tiny-sdxl", "float32"))
    for part in ("64 x 64 pixels", "UNet2DConditionModel, 6.0 million parameters, float32", "Apache-2.0"):
        assert part in text
    assert "EulerAncestralDiscreteScheduler" in text
    assert "guidance_scale: 4" in text
    text = told(load(client, "tiny-ddpm"))
    assert "unconditional" in text
    assert "guidance" not in text


def test_folders_and_files_are_listed_under_names_of_their_own(client, diffusers: Path, checkpoints: Path) -> None:
    for name in ("one", "studio/two", "studio/deep/three", "tiny-ddpm", "x.safetensors"):
        shutil.copytree(asset_folder("tiny-ddpm"), diffusers / name, dirs_exist_ok=True)
    (checkpoints / "sub").mkdir(exist_ok=True)
    for name in ("x.safetensors", "sub/y.safetensors", "z.ckpt"):
        (checkpoints / name).write_bytes(b"<html>")
    names = listed(client)
    assert len(set(names)) == len(names)
    assert names[:2] == ["tiny-sdxl", "tiny-ddpm"]
    expected = {
        "one",
        "studio/two",
        "tiny-ddpm/",
        "x.safetensors/",
        "x.safetensors",
        os.path.join("sub", "y.safetensors"),
    }
    assert expected <= set(names)
    assert not {"studio/deep/three", "z.ckpt", "studio"} & set(names)
    assert "unconditional" in told(load(client, "x.safetensors/"))
    assert "a web page" in refused(load(client, "x.safetensors"))


@pytest.mark.parametrize(
    "model",
    [
        *(
            "../diffusers/one",
            "/etc/passwd",
            "one/../one",
            "./one",
            "one/",
            "C:\\one",
            "one\x00",
            "os",
            "",
            " tiny-sdxl",
        ),
        *("studio", "../checkpoints/x.safetensors", "tiny-sdxl/unet", "sub/../x.safetensors", "x" * 5000),
        *(3, True, None, {"a": 1}),
    ],
    ids=lambda v: repr(v)[:24],
)
def test_what_is_not_listed_is_refused(client, diffusers: Path, model: object) -> None:
    shutil.copytree(asset_folder("tiny-ddpm"), diffusers / "one", dirs_exist_ok=True)
    message = refused(load(client, model))
    assert message.startswith("model:")
    # what is no text is refused by the schema, every other name by the node
    assert f"{'There are:' if isinstance(model, str) else 'Pick one of'} tiny-sdxl, tiny-ddpm" in message


@pytest.mark.parametrize("model", [[], ["1", 0]], ids=repr)
def test_what_is_no_value_never_runs(client, model: object) -> None:
    with pytest.raises(PromptRefused):
        told(load(client, model))


@pytest.mark.parametrize("name", ["playground-v2-1024px-aesthetic", "sd_xl_base_1.0.safetensors", "a/ddpm-church-256"])
def test_a_known_model_comes_with_its_command(client, name: str) -> None:
    message = refused(load(client, name))
    assert message.startswith("model: This model is not there. To get it (")
    command = message.splitlines()[0].partition("hf download ")[2]
    assert command.rpartition(" --local-dir ")[2].startswith("ComfyUI/models/")
    assert "Found" not in command


def test_a_changed_file_is_noticed(client, diffusers: Path) -> None:
    folder = diffusers / "changing"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(asset_folder("tiny-ddpm"), folder)
    first = load(client, "changing")
    assert "1000" in told(first)
    assert set(load(client, "changing").cached) == {"1", "2"}
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_train_timesteps": 500}))
    second = load(client, "changing")
    assert "1" not in second.cached
    assert "training steps: 500" in told(second)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "holds no diffusion_pytorch_model.safetensors" in refused(load(client, "changing"))


SHARING = """
from scripts.comfy.inside import enter
enter()
import gc
import torch
from tastemaker.nodes.load import TastemakerLoadModel, dtype_of, models

one, two = (TastemakerLoadModel.execute("tiny-ddpm", "float32").args[0] for _ in range(2))
assert one is two
named = {torch.float32: "float32", torch.bfloat16: "bfloat16"}[dtype_of("auto")]
auto, same = (TastemakerLoadModel.execute("tiny-ddpm", dtype).args[0] for dtype in ("auto", named))
assert auto is same
del auto, same
other = TastemakerLoadModel.execute("tiny-ddpm", "bfloat16").args[0]
assert other is not one and str(other.dtype) == "torch.bfloat16"
del one, two, other
gc.collect()
assert len(models) == 0
print("shared")
"""


def test_two_nodes_share_one_model_while_anybody_holds_it() -> None:
    """In a process of its own, where the objects can be compared."""
    done = subprocess.run([sys.executable, "-c", SHARING], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith("shared"), done.stderr[-2000:]


def test_the_number_format_is_what_was_asked(client) -> None:
    assert "bfloat16" in told(load(client, "tiny-ddpm", "bfloat16"))
    message = not_offered(lambda: load(client, "tiny-ddpm", "float8"))
    assert message.startswith("dtype:")
    assert "float8" in message


def test_a_prediction_type_is_chosen_in_the_node_and_may_be_absent(client) -> None:
    info = client.get("/object_info/TastemakerLoadModel")["TastemakerLoadModel"]["input"]
    assert list(info["optional"]) == ["prediction_type"]  # last, so that saved workflows keep their order
    assert "network predicts: epsilon" in told(load(client, "tiny-sdxl"))
    prompt = {
        "1": {
            "class_type": "TastemakerLoadModel",
            "inputs": {"model": "tiny-sdxl", "dtype": "auto", "prediction_type": "v_prediction"},
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}},
    }
    assert "network predicts: v_prediction" in told(client.run(prompt))
    prompt["1"]["inputs"]["prediction_type"] = "edm"
    message = not_offered(lambda: client.run(prompt))
    assert message.startswith("prediction_type: ")
    assert "edm" in message


def test_spacing_is_an_optional_last_input_of_sample_options(client) -> None:
    info = client.get("/object_info/TastemakerSampleOptions")["TastemakerSampleOptions"]["input"]
    assert list(info["optional"]) == ["timestep_spacing"]
    assert list(info["required"])[-1] == "speed"

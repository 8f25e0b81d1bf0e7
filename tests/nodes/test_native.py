"""To Native: names and refusals without full-size weights; `scripts/full_size/native.py` does the rest by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from scripts.comfy.locate import find
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    """What a process with the host's own classes found, full size, on the meta device."""
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    command = [sys.executable, "-m", "tests.nodes.native_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_weight_has_the_name_and_shape_the_host_has(probe) -> None:
    """SDXL's UNet has 1680 tensors; none is missing, extra or of another shape, in any of the networks."""
    assert probe["known"]
    assert probe["tensors"] == 1680
    assert (probe["unet"], probe["text"], probe["text_2"]) == ([], [], [])


def test_the_prediction_type_arrives(probe) -> None:
    """First a model that predicts epsilon, then one marked as predicting v with zero terminal SNR."""
    assert probe["v"] == [False, True]
    assert probe["zsnr"] == [False, True]


def test_the_host_takes_every_layer_of_a_lora(probe) -> None:
    """On every linear layer and convolution of UNet and text encoders.

    In the UNet's transformers: 70 blocks of 10 (8 attention projections, 2 of the feed-forward) and 11 pairs of
    projections around them. Outside: 17 residual blocks of 3 and 11 shortcuts, 4 samplers, 4 embeddings, first
    and last convolution: 72. In the encoders 12 and 32 layers of 6, and a projection.
    """
    lora = probe["lora"]
    assert lora["attention"] == 70 * 10 + 11 * 2
    assert lora["layers"] == lora["attention"] + 72 + 12 * 6 + 32 * 6 + 1
    assert lora["taken"] == lora["layers"]


def test_the_hosts_vae_computes_the_same(probe) -> None:
    """Decoded pixels and encoded means of a full-size VAE with random weights, against diffusers."""
    assert probe["vae"]["decode"] < 1e-4
    assert probe["vae"]["encode"] < 1e-4
    assert probe["vae"]["spread"] > 0.05


TAKEN = ("as it is", "v", "v zsnr")
REFUSED = {
    "eps zsnr": "rescale_betas_zero_snr for v prediction only",
    "sample": "predicts 'sample'",
    "betas": "has beta_end 0.012, and this model has 0.02",
    "trained betas": "trained_betas None, and this model has",
    "linear": "beta_schedule scaled_linear, and this model has 'linear'",
    "steps": "num_train_timesteps 1000, and this model has 500",
    "no betas": "beta_schedule scaled_linear, and this model has None",
    "scale": "scaling_factor 0.13025, and this model has 0.18215",
    "mean": "latents_mean None, and this model has (0.0, 0.0, 0.0, 0.0)",
    "heads": "attention_head_dim (5, 10, 20), and this model has (10, 20, 20)",
    "small": "by its full size (320, 640 and 1280 channels), and this model has 64, 128",
    "refiner": "of the kind 'sdxl-refiner'",
    "ddpm": "of the kind 'ddpm'",
}


def test_what_has_a_native_form(probe) -> None:
    assert set(probe["refusals"]) == {*TAKEN, *REFUSED}
    assert [probe["refusals"][name] for name in TAKEN] == [""] * len(TAKEN)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_none_is_told_why(probe, name) -> None:
    message = probe["refusals"][name]
    assert message.startswith("model: ")
    assert REFUSED[name] in message
    assert "Found: 'full'" in message


@pytest.mark.parametrize(
    ("model", "why"), [("tiny-sdxl", "full size"), ("tiny-ddpm", "Only SDXL models have a native form")]
)
def test_the_embedded_models_are_refused_in_the_graph(client, model, why) -> None:
    prompt = {
        "load": {"class_type": "TastemakerLoadModel", "inputs": {"model": model, "dtype": "float32"}},
        "native": {"class_type": "TastemakerToNative", "inputs": {"model": ["load", 0]}},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["native", 0]}},
    }
    result = client.run(prompt)
    assert result.status == "error"
    message = result.error["exception_message"]
    assert message.startswith("model: ")
    assert why in message
    assert model in message


def test_its_outputs_are_the_hosts_own_types(client) -> None:
    info = client.get("/object_info/TastemakerToNative")["TastemakerToNative"]
    assert info["output"] == ["MODEL", "CLIP", "VAE"]

"""Load Taste LoRA in a real ComfyUI server."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from scripts.comfy.client import SAVE_LORA, ComfyClient, RunResult
from tastemaker.loaders import lora_state, with_lora
from tests.loaders.lora_files import attention_paths, dotted_state, random_layers, write

PROMPT = "a large red heart on a blue background"


@pytest.fixture
def folder(server) -> Path:
    return server.base / "models" / "loras"


@pytest.fixture
def files(folder, tiny_sdxl) -> Path:
    """One LoRA in two spellings, in the server's models/loras."""
    layers = random_layers(tiny_sdxl, attention_paths(tiny_sdxl), alpha=4.0)
    write(folder / "kohya.safetensors", lora_state(layers))
    prefixes = {"unet": "unet.", "text_encoder": "text_encoder.", "text_encoder_2": "text_encoder_2."}
    settings = {f"{c}.lora_alpha": 4 for c in prefixes}
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    write(folder / "styles" / "diffusers.safetensors", dotted_state(layers, prefixes), metadata)
    return folder


def graph(client: ComfyClient, *branches: list[dict[str, Any]], dtype: str = "float32") -> dict[str, Any]:
    """A prompt with one picture for each branch; a branch is the LoRAs on its way, first to last."""
    prompt: dict[str, Any] = {
        "model": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": dtype}},
        "text": {"class_type": "PrimitiveString", "inputs": {"value": PROMPT}},
    }
    spec = client.get("/object_info/TastemakerSample")["TastemakerSample"]["input"]
    defaults = {n: e[1]["default"] for part in spec.values() for n, e in part.items() if "default" in e[1]}
    for i, branch in enumerate(branches):
        last = ["model", 0]
        for j, settings in enumerate(branch):
            inputs = {"model": last, "strength": 1.0, "strength_text": 1.0} | settings
            prompt[f"lora{i}_{j}"] = {"class_type": "TastemakerLoadLoRA", "inputs": inputs}
            last = [f"lora{i}_{j}", 0]
        inputs = defaults | {"model": last, "prompts": ["text", 0], "images_per_prompt": 1, "steps": 3, "seed": 11}
        prompt[f"sample{i}"] = {"class_type": "TastemakerSample", "inputs": inputs}
        prompt[f"view{i}"] = {"class_type": "PreviewImage", "inputs": {"images": [f"sample{i}", 0]}}
    return prompt


def pictures(client: ComfyClient, result: RunResult) -> list[np.ndarray]:
    assert result.status == "success", result.error
    found = []
    for i in range(sum(name.startswith("view") for name in result.outputs)):
        data = client.file(result.outputs[f"view{i}"]["images"][0])
        with Image.open(io.BytesIO(data)) as picture:
            found.append(np.asarray(picture.convert("RGB")))
    return found


def test_a_lora_shows_on_its_own_branch_only(client, files) -> None:
    """Same bytes before a LoRA was ever used, beside one in the same graph, and after."""
    kohya = [{"lora": "kohya.safetensors"}]
    client.free()
    (before,) = pictures(client, client.run(graph(client, [])))
    client.free()
    with_it, without, off = pictures(
        client,
        client.run(graph(client, kohya, [], [{"lora": "kohya.safetensors", "strength": 0.0, "strength_text": 0}])),
    )
    client.free()
    after, again = pictures(client, client.run(graph(client, [], kohya)))
    assert np.array_equal(before, without)
    assert np.array_equal(before, after)
    assert np.array_equal(before, off)
    assert np.array_equal(with_it, again)
    assert np.abs(with_it.astype(int) - before).max() > 8


def test_both_spellings_and_halves_make_the_same_picture(client, files) -> None:
    """The same LoRA as a diffusers file, and at half strength twice, to one step of the 8-bit scale."""
    half = {"lora": "kohya.safetensors", "strength": 0.5, "strength_text": 0.5}
    branches = [[{"lora": "kohya.safetensors"}], [{"lora": "styles/diffusers.safetensors"}], [half, half]]
    kohya, diffusers, twice = pictures(client, client.run(graph(client, *branches)))
    assert np.array_equal(kohya, diffusers)
    assert np.abs(kohya.astype(int) - twice).max() <= 1


def test_each_strength_has_its_own_side(client, files) -> None:
    name = {"lora": "kohya.safetensors"}
    branches = [[], [name | {"strength_text": 0.0}], [name | {"strength": 0.0}], [name | {"strength": -1.0}]]
    base, unet, text, minus = pictures(client, client.run(graph(client, *branches)))
    pairs = [(base, unet), (base, text), (unet, text), (base, minus)]
    assert all(not np.array_equal(a, b) for a, b in pairs)


def test_the_list_holds_safetensors_only(client, files) -> None:
    (files / "old.pt").write_bytes(b"\x80\x02}q\x00.")
    spec = client.get("/object_info/TastemakerLoadLoRA")["TastemakerLoadLoRA"]["input"]["required"]["lora"]
    shown = json.dumps(spec)
    assert "kohya.safetensors" in shown
    assert "diffusers.safetensors" in shown
    assert "old.pt" not in shown


def test_a_changed_file_is_read_again(client, files, tiny_sdxl) -> None:
    path = files / "changing.safetensors"
    layers = random_layers(tiny_sdxl, attention_paths(tiny_sdxl)[:8])
    seen = []
    for size in (1.0, 3.0):
        state = lora_state(layers)
        write(path, {k: v * size if "up" in k else v for k, v in state.items()})
        seen += pictures(client, client.run(graph(client, [{"lora": path.name}])))
    assert not np.array_equal(*seen)


def test_the_lora_goes_to_the_hosts_own_nodes(server, client, files) -> None:
    """Save LoRA Weights writes what Load Taste LoRA put on its wire: a kohya file with the same layers."""
    prompt = graph(client, [{"lora": "styles/diffusers.safetensors"}])
    prompt["save"] = {
        "class_type": client.node_id(*SAVE_LORA),
        "inputs": {"lora": ["lora0_0", 1], "prefix": "loras/bridge"},
    }
    assert client.run(prompt).status == "success"
    saved = load_file(next((server.output / "loras").glob("bridge_*.safetensors")))
    kohya = load_file(files / "kohya.safetensors")
    assert saved.keys() == kohya.keys()
    assert all(torch.equal(saved[k], kohya[k]) for k in saved)


def other_kinds(model) -> dict[str, torch.Tensor]:
    """A LoHa on one attention projection, a DoRA on another, a difference of a norm, and an embedding beside them."""
    generator = torch.Generator().manual_seed(8)

    def draw(*shape: int, size: float = 0.3) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * size

    base = "mid_block.attentions.0.transformer_blocks.0"
    width = model.unet.get_submodule(f"{base}.attn1.to_q").weight.shape[0]
    loha, dora = (f"lora_unet_{f'{base}.attn1.{end}'.replace('.', '_')}" for end in ("to_q", "to_v"))
    state = {f"{loha}.hada_w{i}_a": draw(width, 4) for i in (1, 2)}
    state |= {f"{loha}.hada_w{i}_b": draw(4, width) for i in (1, 2)} | {f"{loha}.alpha": torch.tensor(4.0)}
    state |= {f"{dora}.lora_up.weight": draw(width, 4), f"{dora}.lora_down.weight": draw(4, width)}
    state |= {f"{dora}.dora_scale": draw(width, 1).abs() + 0.5}
    state |= {"lora_unet_conv_norm_out.diff": draw(64), "lora_unet_conv_norm_out.diff_b": draw(64)}
    return state | {"bundle_emb.<cat>.clip_l": torch.zeros(1, 8)}


def test_other_kinds_of_lora_work_in_a_graph(client, folder, tiny_sdxl) -> None:
    """LoHa, DoRA and a whole difference: the library's own picture, said on the node; the neighbour stays."""
    from tastemaker.loaders import read_lora
    from tastemaker.sampling import sample

    path = write(folder / "kinds.safetensors", other_kinds(tiny_sdxl))
    result = client.run(graph(client, [], [{"lora": path.name, "strength": 0.8}]))
    without, with_it = pictures(client, result)
    (report,) = result.outputs["lora1_0"]["tastemaker_report"]
    first, second = report.splitlines()
    assert first.startswith("kinds: 3 layers (")
    assert all(f"1 {kind}" in first for kind in ("LoHa", "DoRA", "whole difference"))
    assert second == ("kinds.safetensors: left out the textual inversion embeddings bundled with it (1 tensor).")
    model = with_lora(tiny_sdxl, read_lora(path), 0.8)
    spec = client.get("/object_info/TastemakerSample")["TastemakerSample"]["input"]["required"]
    settings = {
        name: spec[name][1]["default"] for name in ("scheduler", "guidance_scale") if "default" in spec[name][1]
    }
    expected = sample(model, PROMPT, steps=3, seeds=[11], **settings).images[0]
    assert np.abs(with_it.astype(float) - (expected.clamp(0, 1) * 255).round().numpy()).max() <= 1
    assert np.abs(with_it.astype(int) - without).max() > 8


HOSTILE = ["../kohya.safetensors", "..\\kohya.safetensors", "styles/../kohya.safetensors", "/etc/passwd", "C:\\x"]
HOSTILE += ["\\\\host\\share\\x.safetensors", "kohya.safetensors\x00", "", ".", "CON", "x" * 300, "k\u202e.safetensors"]
HOSTILE += ["old.pt", 5, None, True, {"a": 1}]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda v: ascii(v)[:24])
def test_names_that_are_not_in_the_list(client, files, name) -> None:
    assert client.refusal(graph(client, [{"lora": name}])).startswith("lora: "), name


@pytest.mark.parametrize("name", ["strength", "strength_text"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -20.5, 1e300, "many", None], ids=repr)
def test_strengths_outside_their_range(client, files, name, value) -> None:
    assert client.refusal(graph(client, [{"lora": "kohya.safetensors", name: value}])).startswith(f"{name}: ")


BROKEN = {
    "empty": (b"", "an empty file"),
    "html": (b"<!DOCTYPE html><p>no", "a web page"),
    "pickle": (b"\x80\x02}q\x00. a pickle under another name", "a pickle"),
    "huge-header": ((2**40).to_bytes(8, "little") + b"{}", "truncated"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(client, folder, name) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content, words = BROKEN[name]
    (folder / f"{name}.safetensors").write_bytes(content)
    result = client.run(graph(client, [{"lora": f"{name}.safetensors"}]))
    assert result.status == "error"
    assert words in result.error["exception_message"]
    assert f"{name}.safetensors" in result.error["exception_message"]


def test_a_lora_of_another_model_is_refused_whole(client, folder, tiny_sdxl) -> None:
    state = lora_state(random_layers(tiny_sdxl, attention_paths(tiny_sdxl)))
    state = {k.replace("attentions_0", "attentions_7"): v for k, v in state.items()}
    write(folder / "other.safetensors", state)
    result = client.run(graph(client, [{"lora": "other.safetensors"}]))
    assert result.status == "error"
    assert "other was made for another model" in result.error["exception_message"]
    assert "attentions_7" in result.error["exception_message"]


def test_the_unload_button_with_a_lora(client, files) -> None:
    """Loading again after the host freed everything, and on two branches in float32 and bfloat16."""
    prompt = graph(client, [{"lora": "kohya.safetensors"}])
    (first,) = pictures(client, client.run(prompt))
    client.free()
    (second,) = pictures(client, client.run(prompt))
    assert np.array_equal(first, second)
    half = graph(client, [{"lora": "kohya.safetensors"}], [], dtype="bfloat16")
    with_it, without = pictures(client, client.run(half))
    assert not np.array_equal(with_it, without)

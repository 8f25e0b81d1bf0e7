"""The catalogue: its commands lead to where the host looks, and the help page says the same."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tastemaker.loaders import EMBEDDED_MODELS, ModelFileError, load_diffusion_model
from tastemaker.loaders.catalogue import (
    KNOWN_MODELS,
    commands,
    how_to_get,
    known_model,
    missing_model_entry,
    models_table,
)
from tastemaker.loaders.formats.weights import read_json
from tests.conftest import ROOT

LICENCES = {"Apache-2.0", "Playground v2 Community License", "CreativeML Open RAIL++-M"}
LICENCES |= {"Stability AI's own (sai-nc-community)"}


def test_names_are_what_the_load_node_lists() -> None:
    names = [model.name for model in KNOWN_MODELS]
    assert len(set(map(str.lower, names))) == len(names)
    assert [model.name for model in KNOWN_MODELS if model.ships] == list(EMBEDDED_MODELS)
    wanted = {"playground-v2-1024px-aesthetic", "playground-v2-512px-base", "playground-v2-256px-base"}
    wanted |= {"ddpm-church-256", "ddpm-celebahq-256", "ddpm-bedroom-256", "ddpo-aesthetic-church-256"}
    wanted |= {"playground-v2.safetensors", "sdxl-turbo", "sd_xl_turbo_1.0_fp16.safetensors", "ddpm-ema-bedroom-256"}
    wanted |= {f"sdxl_lightning_{n}.safetensors" for n in ("1step_x0", "2step", "4step", "8step")}
    wanted |= {"sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors", "playground-v2.fp16.safetensors"}
    assert wanted <= set(names)


@pytest.mark.parametrize("model", KNOWN_MODELS, ids=lambda m: m.name)
def test_an_entry_is_whole(model) -> None:
    assert model.licence in LICENCES
    assert (model.guidance_scale is None) == (model.architecture == "ddpm")
    assert model.scheduler.endswith("Scheduler")
    if model.ships:
        assert model.command == ""
        return
    words = shlex.split(model.command)
    assert words[:3] == ["hf", "download", model.repository]
    assert words[-2] == "--local-dir"
    place = Path(words[-1])
    if model.single_file:
        assert place == Path("ComfyUI/models/checkpoints")
        assert words[3:-2] == [model.name]
    else:
        assert place == Path("ComfyUI/models/diffusers") / model.name


@pytest.mark.parametrize("model", [m for m in KNOWN_MODELS if m.files and not m.single_file], ids=lambda m: m.name)
def test_what_a_folder_needs_is_downloaded(model) -> None:
    """No component of its kind without its config and weights."""
    parts = {"sdxl": 4, "sdxl-refiner": 3, "ddpm": 1}[model.architecture]
    assert "model_index.json" in model.files
    assert sum(name.endswith("scheduler_config.json") for name in model.files) == 1
    configs = [n for n in model.files if n.rpartition("/")[2] == "config.json"]
    weights = [n for n in model.files if n.endswith((".safetensors", ".bin"))]
    assert len(configs) == len(weights) == parts
    assert [n.rpartition("/")[0] for n in configs] == [n.rpartition("/")[0] for n in weights]
    tokenizers = {n.partition("/")[0] for n in model.files if n.startswith("tokenizer")}
    assert len(tokenizers) == sum(n.startswith("text_encoder") for n in configs)


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_embedded_models_are_as_the_catalogue_says(name: str) -> None:
    entry, model = known_model(name), load_diffusion_model(name)
    assert entry is not None
    assert (entry.architecture, entry.native_size) == (model.architecture, model.native_size[0])
    assert entry.scheduler == model.scheduler_config["_class_name"]
    size = sum(p.stat().st_size for p in (ROOT / "assets" / name).rglob("*") if p.is_file())
    assert entry.gigabytes == pytest.approx(size / 1e9, rel=0.15)
    assert read_json(ROOT / "assets" / name / "model_index.json")["_class_name"].endswith("Pipeline")


def test_names_are_found_in_sub_folders_and_in_any_case() -> None:
    expected = known_model("ddpm-church-256")
    assert expected is not None
    for name in ("studio/ddpm-church-256", "studio\\DDPM-Church-256", "ddpm-church-256/"):
        assert known_model(name) is expected
    for name in ("", "/", "ddpm", "ddpm-church-256x", "../../etc"):
        assert known_model(name) is None


def test_how_to_get() -> None:
    said = how_to_get("sdxl/sd_xl_base_1.0.safetensors")
    assert "6.9 GB, CreativeML Open RAIL++-M" in said
    command = "hf download stabilityai/stable-diffusion-xl-base-1.0 sd_xl_base_1.0.safetensors"
    assert said.endswith(f"{command} --local-dir ComfyUI/models/checkpoints")
    said = how_to_get("sd_xl_offset_example-lora_1.0.safetensors")
    assert "0.05 GB" in said
    assert said.endswith("sd_xl_offset_example-lora_1.0.safetensors --local-dir ComfyUI/models/loras")
    assert how_to_get("tiny-sdxl") == how_to_get("of my own") == ""


def test_the_library_says_how_to_get_a_known_model() -> None:
    with pytest.raises(ModelFileError, match="hf download google/ddpm-church-256 .*models/diffusers/ddpm-church-256"):
        load_diffusion_model("ddpm-church-256")
    with pytest.raises(ModelFileError, match="nor a model folder or file\\.$"):
        load_diffusion_model("of-my-own")


def test_what_the_host_can_offer_to_get() -> None:
    assert missing_model_entry("sd_xl_refiner_1.0.safetensors") == {
        "name": "sd_xl_refiner_1.0.safetensors",
        "url": "https://huggingface.co/stabilityai/stable-diffusion-xl-refiner-1.0/resolve/main/"
        "sd_xl_refiner_1.0.safetensors",
        "directory": "checkpoints",
    }
    assert missing_model_entry("sub/sd_xl_offset_example-lora_1.0.safetensors") == {
        "name": "sd_xl_offset_example-lora_1.0.safetensors",
        "url": "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/"
        "sd_xl_offset_example-lora_1.0.safetensors",
        "directory": "loras",
    }
    assert missing_model_entry("ddpm-church-256") is None
    assert missing_model_entry("tiny-sdxl") is None
    assert missing_model_entry("of-my-own.safetensors") is None


def test_the_help_page_has_the_catalogue() -> None:
    page = (ROOT / "web" / "docs" / "TastemakerLoadModel" / "en.md").read_text(encoding="utf-8")
    assert models_table() in page
    assert f"```\n{commands()}\n```" in page

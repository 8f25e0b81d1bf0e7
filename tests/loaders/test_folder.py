"""Model folders: what loads, what is refused, and in which words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tastemaker.loaders import ModelFileError, asset_folder, load_diffusion_model


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        return Path(shutil.copytree(asset_folder(name), tmp_path / "my-model"))

    return make


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_embedded_models_load_and_say_what_they_are(tiny_sdxl, tiny_ddpm) -> None:
    assert (tiny_sdxl.architecture, tiny_sdxl.native_size, tiny_sdxl.downscale) == ("sdxl", (64, 64), 4)
    assert (tiny_ddpm.architecture, tiny_ddpm.native_size, tiny_ddpm.channels) == ("ddpm", (64, 64), 3)
    assert tiny_sdxl.dtype == torch.float32
    assert not any(p.requires_grad for m in tiny_sdxl.modules.values() for p in m.parameters())


def test_a_copy_in_another_folder_is_the_same_model(copy, tiny_sdxl) -> None:
    other = load_diffusion_model(copy("tiny-sdxl"))
    assert other.fingerprint == tiny_sdxl.fingerprint
    weight = other.unet.conv_in.weight
    assert torch.equal(weight, tiny_sdxl.unet.conv_in.weight)


def test_both_key_forms_of_the_text_encoder_load(copy, tiny_sdxl) -> None:
    folder = copy("tiny-sdxl")
    path = folder / "text_encoder" / "model.fp16.safetensors"
    state = load_file(path)
    prefix = "text_model."
    if all(k.startswith(prefix) for k in state):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    else:
        state = {prefix + k: v for k, v in state.items()}
    path.unlink()
    save_file(state, path)
    mine = load_diffusion_model(folder).modules["text_encoder"].state_dict()
    theirs = tiny_sdxl.modules["text_encoder"].state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs)


def test_a_ddpm_folder_without_the_fp16_variant_loads_in_half(copy) -> None:
    model = load_diffusion_model(copy("tiny-ddpm"), dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16


def drop_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")


def drop_weights(folder: Path) -> None:
    next((folder / "vae").glob("*.safetensors")).unlink()


def html_weights(folder: Path) -> None:
    next((folder / "vae").glob("*.safetensors")).write_text("<html>Access denied</html>")


def add_code(folder: Path) -> None:
    (folder / "unet" / "pipeline.so").write_text("boom")


def name_os(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["os", "system"])


def extra_component(folder: Path) -> None:
    edit(folder / "model_index.json", helper=["subprocess", "Popen"])


def other_pipeline(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name="StableDiffusionPipeline")


def auto_map(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "x.Y"})


def unknown_key(folder: Path) -> None:
    edit(folder / "unet" / "config.json", surprise=1)


def other_scheduler(folder: Path) -> None:
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="EDMDPMSolverMultistepScheduler")


def missing_key(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    state = load_file(path)
    state.pop("conv_in.bias")
    path.unlink()
    save_file(state, path)


def wrong_width(folder: Path) -> None:
    edit(folder / "unet" / "config.json", block_out_channels=[64, 64])


def no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop_unet, "has no unet folder"),
        (drop_weights, "holds no diffusion_pytorch_model.safetensors"),
        (html_weights, "a web page"),
        (add_code, r"program code \(pipeline.so\)"),
        (name_os, r"names \['os', 'system'\] as its unet"),
        (extra_component, "unknown component helper"),
        (other_pipeline, "is a 'StableDiffusionPipeline'"),
        (auto_map, "not a CLIP text encoder|auto_map"),
        (unknown_key, "does not know: surprise"),
        (other_scheduler, "EDMDPMSolverMultistepScheduler"),
        (missing_key, "missing conv_in.bias"),
        (wrong_width, "do not fit its config"),
        (no_index, "has no model_index.json"),
    ],
)
def test_a_broken_folder_is_refused_in_clear_words(copy, damage: Callable[[Path], None], said: str) -> None:
    folder = copy("tiny-sdxl")
    damage(folder)
    with pytest.raises(ModelFileError, match=said):
        load_diffusion_model(folder)


@pytest.mark.parametrize("source", ["no-such-model", "../assets/tiny-sdxl/../../x", "", "os"])
def test_a_source_that_is_nothing(source: str) -> None:
    with pytest.raises(ModelFileError):
        load_diffusion_model(source)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latents_mean", [-1.6574, 1.886, -1.383, 2.5155]),
        ("latents_std", [8.4, 5.9, 6.7, 5.3]),
        ("shift_factor", 0.1159),
    ],
)
def test_a_vae_of_another_scaling_is_refused(copy, key: str, value: object) -> None:
    folder = copy("tiny-sdxl")
    edit(folder / "vae" / "config.json", **{key: value})
    with pytest.raises(ModelFileError, match=f"has {key} .*scaled in another way than SDXL's"):
        load_diffusion_model(folder)
    edit(folder / "vae" / "config.json", **{key: None})
    assert load_diffusion_model(folder).latent_scale > 0


@pytest.mark.parametrize(
    ("model", "part", "changes", "said"),
    [
        ("tiny-ddpm", "unet", {"in_channels": 1, "out_channels": 1}, "has 1 channels in and 1 out; only"),
        ("tiny-ddpm", "unet", {"out_channels": 6}, "has 3 channels in and 6 out; only"),
        ("tiny-sdxl", "vae", {"in_channels": 4, "out_channels": 4}, "has 4 channels in and 4 out; only"),
        ("tiny-sdxl", "text_encoder", {"max_position_embeddings": 2}, "max_position_embeddings is 2; .* at least 3"),
    ],
)
def test_parts_that_no_picture_or_text_fits_are_refused(copy, model: str, part: str, changes: dict, said: str) -> None:
    folder = copy(model)
    edit(folder / part / "config.json", **changes)
    with pytest.raises(ModelFileError, match=said):
        load_diffusion_model(folder)


@pytest.mark.parametrize("prompt", ["!", "wow!", "stop!! ! now !", "a cat", "", "<|endoftext|>!"])
def test_an_exclamation_mark_means_the_same_from_folders_and_single_files(tmp_path, prompt: str) -> None:
    from tastemaker.loaders.folder.tokenizer import clip_tokenizer, shipped_tokenizers

    for single, padding in zip(shipped_tokenizers(), ("<|endoftext|>", "!"), strict=True):
        folder = Path(shutil.copytree(asset_folder("clip-tokenizer"), tmp_path / str(single.pad_token_id)))
        edit(folder / "tokenizer_config.json", pad_token=padding)
        ours = clip_tokenizer(folder, 49408)
        assert ours.pad_token_id == single.pad_token_id
        ids = ours(prompt, padding="max_length").input_ids
        assert ids == single(prompt, padding="max_length").input_ids
        if prompt == "!":  # as in CLIP's vocabulary: 0 is "!" inside a word, 256 at its end
            assert ids[:3] == [49406, 256, 49407]

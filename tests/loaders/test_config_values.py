"""Configs whose values a constructor takes and a network cannot compute with are refused when they are loaded."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tastemaker.loaders import ModelFileError, asset_folder, load_diffusion_model
from tastemaker.loaders.formats.fingerprint import changes
from tests.loaders.test_hostile import crafted, entry


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(asset_folder(name), tmp_path / "my-model"))


CASES = [
    *(("tiny-sdxl", "unet", "norm_num_groups", v) for v in (-1, 0, None, "x")),
    *(("tiny-sdxl", "unet", "norm_eps", v) for v in ("x", None, -1, [1], True)),
    *(("tiny-sdxl", "unet", key, "x") for key in ("freq_shift", "mid_block_scale_factor", "upcast_attention")),
    *(("tiny-sdxl", "unet", "attention_head_dim", v) for v in (-1, [-1, 8])),
    *(("tiny-sdxl", "vae", "scaling_factor", v) for v in ("x", None, [1], 0, -1)),
    *(("tiny-sdxl", "vae", "norm_num_groups", v) for v in (-1, "x")),
    *(("tiny-sdxl", "text_encoder", "num_attention_heads", v) for v in (-1, 0, None, True)),
    *(("tiny-sdxl", "text_encoder_2", "eos_token_id", v) for v in ([1, 2], None, "x", 2.5)),
    *(("tiny-sdxl", "text_encoder_2", "layer_norm_eps", v) for v in (None, "x", 0)),
    *(("tiny-ddpm", "unet", "downsample_padding", v) for v in (-1, None, 3)),
    *(("tiny-ddpm", "unet", key, -1) for key in ("attn_norm_num_groups", "attention_head_dim")),
]


@pytest.mark.parametrize(("model", "part", "key", "value"), CASES)
def test_a_value_that_no_network_computes_with_is_refused(copy, model: str, part: str, key: str, value: object) -> None:
    """Each of these loaded once, and the sampling ended in a bare error of torch or Python, or in no picture."""
    folder = copy(model)
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ModelFileError, match=f"my-model/{part}/config.json") as refused:
        load_diffusion_model(folder)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 350


@pytest.mark.parametrize("key", ["clip_sample", "set_alpha_to_one", "rescale_betas_zero_snr", "skip_prk_steps"])
def test_a_switch_of_the_scheduler_that_is_no_switch(copy, key: str) -> None:
    from tastemaker.sampling.schedules import make_schedule

    folder = copy("tiny-sdxl")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "false"}))
    with pytest.raises(ModelFileError, match=f"{key} is 'false' .* must be true or false"):
        make_schedule(load_diffusion_model(folder).scheduler_config, "ddim", 4)


def test_tokenizers_that_cut_at_different_lengths_are_refused(copy) -> None:
    folder = copy("tiny-sdxl")
    for name, length in (("tokenizer", 3), ("tokenizer_2", 77)):
        path = folder / name / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": length}))
    with pytest.raises(ModelFileError, match=r"different lengths, 3 \(tokenizer\) and 77 \(tokenizer_2\)"):
        load_diffusion_model(folder)
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"model_max_length": 1e30})
    )  # "no limit": 77 all the same
    assert load_diffusion_model(folder).tokenizers


# --- files that are none ----------------------------------------------------------------------


def quickly(source: Path, said: str) -> str:
    """The refusal, which must come within a second of this thread's own work."""
    start = time.thread_time()
    with pytest.raises(ModelFileError, match=said) as refused:
        load_diffusion_model(source)
    assert time.thread_time() - start < 1
    assert str(source.parent) not in str(refused.value)
    changes(source)  # what the node asks first; it must not fail either
    return str(refused.value)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def zeros(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 * 2**30)


PLACES = ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors")
PLACES = (*PLACES, "tokenizer/merges.txt", "tokenizer/vocab.json", "scheduler/scheduler_config.json")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("make", [pipe, device, loop, zeros])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_in_a_folder_is_named_at_once(copy, make: Callable[[Path], None], place: str) -> None:
    folder = copy("tiny-sdxl")
    (folder / place).unlink()
    make(folder / place)
    name = place.rpartition("/")[2]
    quickly(folder, f"{name}, which is no plain file|link that leads out|larger than 4 MiB|safetensors|no merges.txt")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("make", [pipe, device, loop, zeros])
def test_what_is_no_file_as_a_checkpoint_is_named_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.safetensors")
    quickly(tmp_path / "x.safetensors", "neither|not a safetensors file|not a valid file")


def test_a_folder_that_is_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("x", target_is_directory=True)
    quickly(tmp_path / "x", "neither|link to nothing")


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
@pytest.mark.parametrize("name", [b"\xff\xfe.txt", b"a\nb.json", b"\x1b[31m.txt"])
def test_a_file_whose_name_is_no_text_is_refused(copy, name: bytes) -> None:
    folder = copy("tiny-ddpm")
    with open(os.fsencode(folder) + b"/" + name, "wb"):
        pass
    assert quickly(folder, "whose name is no text").isprintable()


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F8_E8M0", "C64"])
def test_a_number_format_that_torch_has_not_is_named(copy, dtype: str) -> None:
    folder = copy("tiny-ddpm")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.unlink()
    crafted(path, {"conv_in.bias": entry(dtype=dtype, shape=(16,), offsets=(0, 8))}, body=b"\0" * 8)
    quickly(folder, r"is damaged|do not fit its config")


def test_a_shard_of_an_endless_name_is_named(copy) -> None:
    folder = copy("tiny-ddpm")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    listed = {"weight_map": {"conv_in.weight": "x" * 300 + ".safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(listed))
    quickly(folder, "names a file of 312 characters")


def test_merges_with_carriage_returns_are_read_alike(copy) -> None:
    """As thibaud/sdxl_dpo_turbo has them."""
    folder = copy("tiny-sdxl")
    plain = load_diffusion_model(folder).tokenizers[0]("a red heart above a blue ring").input_ids
    path = folder / "tokenizer" / "merges.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_diffusion_model(folder).tokenizers[0]("a red heart above a blue ring").input_ids == plain


# --- program code that nothing names ----------------------------------------------------------


def test_a_py_that_the_index_does_not_name_is_only_text(canary: Path, copy) -> None:
    """google/ddpm-ema-bedroom-256 has its modeling_ddpm.py still."""
    folder = copy("tiny-ddpm")
    (folder / "modeling_ddpm.py").write_text("import evil\n")
    model = load_diffusion_model(folder)
    assert model.fingerprint == load_diffusion_model("tiny-ddpm").fingerprint
    index = json.loads((folder / "model_index.json").read_text())
    for named in (["modeling_ddpm", "DDPM"], ["modeling_ddpm", "UNet2DModel"]):
        (folder / "model_index.json").write_text(json.dumps(index | {"unet": named}))
        with pytest.raises(ModelFileError, match=r"code of its own \(modeling_ddpm\.py\) as its unet: it is never run"):
            load_diffusion_model(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"_class_name": "UNet2DConditionModel"}, r"a UNet alone \(UNet2DConditionModel\), .* copy's unet folder"),
        ({"_class_name": "AutoencoderKL"}, "a VAE alone"),
        ({"_class_name": ["a"]}, "no model in the diffusers layout"),
        (None, "no model in the diffusers layout"),
    ],
)
def test_a_part_alone_is_named_and_not_downloaded_again(tmp_path: Path, config: dict | None, said: str) -> None:
    """latent-consistency/lcm-sdxl is a UNet."""
    folder = tmp_path / "lcm-sdxl"
    folder.mkdir()
    save_file({"conv_in.weight": torch.zeros(1)}, folder / "diffusion_pytorch_model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    message = quickly(folder, said)
    assert "ownload" not in message or config is None or config["_class_name"] == ["a"]

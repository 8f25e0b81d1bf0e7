"""Weight files: knowing what a file is, strictness, atomic writing."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tastemaker.core.files import write_atomic
from tastemaker.loaders import ModelFileError, load_diffusion_model
from tastemaker.loaders.formats import weights
from tastemaker.loaders.formats.component import modern_names, read_component, to_safetensors
from tastemaker.loaders.formats.pickled import read_pickled
from tastemaker.loaders.formats.weights import (
    fill,
    find_weights,
    read_json,
    read_safetensors,
)


def good(path: Path) -> bytes:
    save_file({"weight": torch.arange(6.0).view(2, 3)}, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"ab", "not a safetensors file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x80\x02}q\x00.", "a pickle"),
        (b"PK\x03\x04rest of a zip", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (struct.pack("<Q", 2**40) + b'{"a":1}', "truncated"),
        (struct.pack("<Q", 2**63) + b'{"a":1}', "truncated"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        read_safetensors(path)


def test_a_file_cut_at_half_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole = good(path)
    path.write_bytes(whole[: len(whole) - 10])
    with pytest.raises(ModelFileError, match="damaged"):
        read_safetensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no file gone\.safetensors"):
        read_safetensors(tmp_path / "gone.safetensors")


def test_tensors_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    good(path)
    state = read_safetensors(path)
    os.truncate(path, 4)
    assert torch.equal(state["weight"], torch.arange(6.0).view(2, 3))


def test_variants_are_read_from_the_names(tmp_path: Path) -> None:
    half = tmp_path / "model.fp16.safetensors"
    good(half)
    assert find_weights(tmp_path, "model", prefer_half=False) == [half]
    plain = tmp_path / "model.safetensors"
    good(plain)
    assert find_weights(tmp_path, "model", prefer_half=False) == [plain]
    assert find_weights(tmp_path, "model", prefer_half=True) == [half]


def test_sharded_files_are_joined(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "model-00002-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert set(read_component(tmp_path, "model", prefer_half=False)) == {"a", "b"}


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "model.bin"])
def test_an_index_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelFileError, match="outside its folder"):
        find_weights(tmp_path, "model", prefer_half=False)


def test_only_bin_files_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelFileError, match=r"pytorch_model\.bin.*safetensors"):
        find_weights(tmp_path, "model", prefer_half=False)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"weight": torch.zeros(2, 3)}, "missing bias"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "unexpected extra"),
        ({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, r"weight has shape \(3, 3\)"),
        ({"weight": torch.zeros(2, 3), "bias": torch.tensor([1.0, float("nan")])}, "NaN or infinity in bias"),
    ],
)
def test_filling_is_strict(state: dict, said: str) -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    with pytest.raises(ModelFileError, match=said):
        fill(module, state, where="it")


def test_filling_fills() -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    fill(module, {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, where="it")
    assert torch.equal(module(torch.ones(1, 3)), torch.full((1, 2), 4.0))


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000])
def test_a_broken_config_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_writing_replaces_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# --- number formats and memory ----------------------------------------------------------------


def test_tensors_are_cast_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.tensor([1.5, 2.25]), "ids": torch.tensor([3])}, path)
    state = read_safetensors(path, torch.bfloat16)
    assert state["weight"].dtype == torch.bfloat16
    assert state["weight"].tolist() == [1.5, 2.25]
    assert state["ids"].dtype == torch.int64


def anonymous_bytes() -> int:
    """Memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own account")
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_reading_holds_one_copy_of_a_component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """128 MB of float32 as 64 MB of float16: never more than those 64 and one tensor."""
    path = tmp_path / f"model.{ending}"
    state = {str(i): torch.full((2**20,), float(i)) for i in range(32)}
    save_file(state, path) if ending == "safetensors" else torch.save(state, path)
    del state
    read = read_safetensors if ending == "safetensors" else read_pickled
    whole = weights.own_copy
    seen = [anonymous_bytes()]

    def watched(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        copy = whole(tensor, dtype)
        seen.append(anonymous_bytes())
        return copy

    monkeypatch.setattr(weights, "own_copy", watched)
    monkeypatch.setattr("tastemaker.loaders.formats.pickled.own_copy", watched)
    result = read(path, torch.float16)
    assert len(seen) == 33
    assert sum(t.nbytes for t in result.values()) == 64 * 2**20
    assert max(seen) - seen[0] <= (64 + 4 + 8) * 2**20


# --- the first DDPMs: one .bin, old names -----------------------------------------------------

CHURCH = {  # google/ddpm-church-256's unet config
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
}
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_small",
}


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Today's attention names as the first diffusers wrote them."""
    pairs = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    renamed = {}
    for key, tensor in state.items():
        for new, old in pairs.items():
            key = key.replace(new, old)
        renamed[key] = tensor
    return renamed


def church_folder(folder: Path, *, flat: bool, ending: str) -> torch.nn.Module:
    """A narrow model of the church's layout, as its repository lays it out; what it was made from."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    config = CHURCH | {"block_out_channels": [32, 32, 32, 32, 64, 64], "sample_size": 64}
    unet = UNet2DModel(**config).eval()
    places = {"unet": folder if flat else folder / "unet", "scheduler": folder if flat else folder / "scheduler"}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1"}
    index |= {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    named = {"_class_name": "UNet2DModel", "_diffusers_version": "0.1.1"} | config
    (places["unet"] / "config.json").write_text(json.dumps(named))
    (places["scheduler"] / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    path = places["unet"] / f"diffusion_pytorch_model.{ending}"
    state = old_names(unet.state_dict())
    torch.save(state, path) if ending == "bin" else save_file(state, path)
    return unet


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_the_first_ddpms_load(tmp_path: Path, flat: bool, ending: str) -> None:
    """Equal to what they were made from, and to what diffusers loads from the same files."""
    from diffusers import DDPMPipeline

    unet = church_folder(tmp_path / "church", flat=flat, ending=ending)
    model = load_diffusion_model(tmp_path / "church")
    assert (model.architecture, model.native_size) == ("ddpm", (64, 64))
    assert model.scheduler_config["clip_sample"] is True
    theirs = DDPMPipeline.from_pretrained(tmp_path / "church", use_safetensors=ending == "safetensors").unet
    x, t = torch.randn(2, 3, 64, 64), torch.tensor([3, 900])
    with torch.no_grad():
        mine, made, loaded = (m(x, t).sample for m in (model.unet, unet, theirs))
    assert torch.equal(mine, made)
    assert torch.equal(mine, loaded)


def test_the_church_at_full_size_has_these_names() -> None:
    """455 MB in float32, and every old name becomes one of the module's own."""
    from diffusers import UNet2DModel

    with torch.device("meta"):
        state = UNet2DModel(**CHURCH).state_dict()
    assert round(4 * sum(t.numel() for t in state.values()) / 1e6) == 455
    old = old_names(state)
    assert {k.rpartition(".attentions.0.")[2] for k in old if k.startswith("mid_block.attentions")} == {
        f"{part}.{kind}" for part in ("group_norm", "query", "key", "value", "proj_attn") for kind in ("weight", "bias")
    }
    assert sum("proj_attn" in k for k in old) == 2 * (2 + 1 + 3)  # down block 4, the middle, up block 1
    assert list(modern_names(old)) == list(state)
    assert list(modern_names(state)) == list(state)


def test_other_names_stay() -> None:
    keys = ["a.attentions.0.transformer_blocks.0.attn1.to_q.weight", "query.weight", "x.attentions.0.key.scale"]
    assert list(modern_names(dict.fromkeys(keys, torch.zeros(1)))) == keys


def test_a_pickle_is_read_only_where_it_is_asked_for(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "model.bin")
    assert find_weights(tmp_path, "model", prefer_half=False, pickles=True) == [tmp_path / "model.bin"]
    with pytest.raises(ModelFileError, match=r"model\.bin"):
        find_weights(tmp_path, "model", prefer_half=False)
    good(tmp_path / "model.safetensors")
    assert find_weights(tmp_path, "model", prefer_half=False, pickles=True) == [tmp_path / "model.safetensors"]


def test_a_pickle_becomes_safetensors(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    made = {"a": shared[2:4], "b": torch.nn.Parameter(torch.ones(2, 2).t()), "c": torch.tensor(7, dtype=torch.int32)}
    torch.save(made, tmp_path / "model.bin")
    path = to_safetensors(tmp_path / "model.bin")
    assert path == tmp_path / "model.safetensors"
    state = read_safetensors(path)
    assert all(torch.equal(state[k], made[k]) and state[k].dtype == made[k].dtype for k in made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "model.safetensors"]
    with pytest.raises(ModelFileError, match="already there"):
        to_safetensors(tmp_path / "model.bin")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(dtype: torch.dtype, value: float) -> None:
    for place in (0, 500, 999):
        weight = torch.linspace(-1, 1, 1000)
        with torch.device("meta"):
            module = torch.nn.Linear(1000, 1, bias=False)
        fill(module, {"weight": weight.to(dtype)[None]}, where="it")
        weight[place] = value
        with pytest.raises(ModelFileError, match="NaN or infinity in weight"):
            fill(module, {"weight": weight.to(dtype)[None]}, where="it")

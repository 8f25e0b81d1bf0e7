"""Files named for what they are, from their headers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scripts.full_size import official
from tastemaker.loaders import ModelFileError, asset_folder, load_diffusion_model
from tastemaker.loaders.formats.precision import vae_dtype
from tastemaker.loaders.single_file.identify import identify, identify_shapes, read_model_header

Shapes = dict[str, tuple[int, ...]]
U = "model.diffusion_model."
IN = U + "input_blocks.0.0.weight"
ATTENTION = U + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def base() -> Shapes:
    return {k: tuple(v.shape) for k, v in official.original_state(official.official_modules()).items()}


@pytest.fixture(scope="module")
def refiner() -> Shapes:
    return {k: tuple(v.shape) for k, v in official.original_state(official.official_modules(refiner=True)).items()}


def names_of(module: torch.nn.Module) -> Shapes:
    return {k: tuple(v.shape) for k, v in module.state_dict().items()}


def write_header(path: Path, shapes: Shapes) -> Path:
    """A safetensors file of these names and shapes; its data is a hole in the file."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + at)
    return path


def test_full_size_sdxl_is_known_by_its_header_alone(base, refiner, tmp_path: Path) -> None:
    assert identify(write_header(tmp_path / "base.safetensors", base)) == "SDXL"
    assert identify(write_header(tmp_path / "refiner.safetensors", refiner)) == "SDXL refiner"


def test_kin_of_sdxl_are_told_apart(base) -> None:
    unet = {k: v for k, v in base.items() if k.startswith(U)}
    assert identify_shapes(unet) == "an SDXL UNet without the rest"
    assert identify_shapes(base | {IN: (320, 9, 3, 3)}) == "an SDXL inpainting model"
    assert identify_shapes(base | {IN: (320, 8, 3, 3)}) == "an SDXL InstructPix2Pix model"
    assert identify_shapes(base | {"edm_mean": (1, 4, 1, 1), "edm_std": (1, 4, 1, 1)}) == "Playground v2.5 (EDM)"
    assert "CosXL" in identify_shapes(base | {"edm_vpred.sigma_max": ()})
    assert identify_shapes(base | {"v_pred": (0,)}) == "SDXL"


def test_modules_of_installed_libraries_are_named() -> None:
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        FluxTransformer2DModel,
        PixArtTransformer2DModel,
        SD3Transformer2DModel,
    )

    parts = official.official_modules()
    with torch.device("meta"):
        small = {"num_layers": 1, "num_attention_heads": 2}
        flux = FluxTransformer2DModel(num_layers=1, num_single_layers=1)
        sd3 = SD3Transformer2DModel(**small)
        pixart = PixArtTransformer2DModel(**small, caption_channels=64)
        control = ControlNetModel(cross_attention_dim=768)
        vae = AutoencoderKL()
    original = official.original_state(parts)
    assert identify_shapes(names_of(parts["unet"])) == "a diffusers UNet without the rest"
    assert identify_shapes(names_of(parts["vae"])) == identify_shapes(names_of(vae)) == "a VAE"
    assert identify_shapes({k: tuple(v.shape) for k, v in original.items() if "first_stage" in k}) == "a VAE"
    for name in ("text_encoder", "text_encoder_2"):
        assert identify_shapes(names_of(parts[name])) == "a text encoder"
    open_clip = {k.split("model.", 1)[1]: tuple(v.shape) for k, v in original.items() if "embedders.1" in k}
    assert identify_shapes(open_clip) == "a text encoder"
    assert identify_shapes(names_of(control)) == "a ControlNet"
    assert identify_shapes(names_of(flux)) == "FLUX"
    assert identify_shapes(names_of(sd3)) == "SD3"
    assert identify_shapes(names_of(pixart)) == "PixArt"


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({IN: (320, 4, 3, 3), ATTENTION: (320, 768)}, "SD 1.5"),
        ({IN: (320, 4, 3, 3), ATTENTION: (320, 1024)}, "SD 2"),
        ({IN: (320, 4, 3, 3), ATTENTION: (320, 1024), U + "label_emb.0.0.weight": (1280, 2048)}, "SD 2"),
        ({U + "joint_blocks.0.context_block.attn.qkv.weight": (1, 1)}, "SD3"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "FLUX"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": (8, 4)}, "a LoRA"),
        ({"unet.down_blocks.1.attentions.0.proj_in.lora.down.weight": (8, 4)}, "a LoRA"),
        ({"unet.mid_block.attentions.0.proj_in.lora_A.weight": (8, 4)}, "a LoRA"),
        ({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": (8, 4)}, "a LoRA"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lokr_w1": (8, 4)}, "a LoRA"),
        ({"base_model.model.mid_block.attentions.0.proj_in.lora_B.weight": (8, 4)}, "a LoRA"),
        ({"control_model.input_blocks.0.0.weight": (1,)}, "a ControlNet"),
        ({"clip_g": (4, 1280), "clip_l": (4, 768)}, "an embedding"),
        ({"emb_params": (4, 768)}, "an embedding"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (1, 1)}, "a text encoder"),
        ({"weight": (3, 3)}, "not a known model"),
        ({}, "not a known model"),
    ],
)
def test_other_files_are_named(shapes: Shapes, kind: str) -> None:
    assert identify_shapes(shapes) == kind


def test_the_reward_that_ships_is_named_with_where_it_goes() -> None:
    path = asset_folder("tiny-imagereward") / "ImageReward.safetensors"
    assert identify(path) == "a reward model"
    with pytest.raises(ModelFileError, match="is a reward model, not .*: load it with Load Reward"):
        load_diffusion_model(path)


def test_a_lora_is_sent_to_its_node(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    save_file({"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.ones(2, 2)}, path)
    with pytest.raises(
        ModelFileError, match=r"style\.safetensors is a LoRA, not a model .*: load it with Load Taste LoRA\."
    ):
        load_diffusion_model(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\x80\x02}q\x00.", "a pickle"),
        (b"<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (struct.pack("<Q", 2**40) + b'{"a":1}', "truncated"),
        (struct.pack("<Q", 7) + b'{"a":1}', "damaged"),
        (struct.pack("<Q", 7) + b'{"a":1 ', "damaged"),
        (struct.pack("<Q", 17) + b'{"a":{"shape":1}}', "damaged"),
        (struct.pack("<Q", 20) + b'{"a":{"shape":[-1]}}', "damaged"),
        (struct.pack("<Q", 50_006) + b'{"a":' + b"[" * 50_001, "damaged"),
        (struct.pack("<Q", 5) + b'{"\xff":', "damaged"),
        (struct.pack("<Q", 2) + b"{}", "not a known model"),
    ],
)
def test_what_is_no_safetensors_file_is_named_before_a_library_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    import safetensors

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the library was given the file")

    monkeypatch.setattr(safetensors, "safe_open", refuse)
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        load_diffusion_model(path)


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    path = write_header(tmp_path / "many.safetensors", {f"t{i}": (1,) for i in range(20_001)})
    with pytest.raises(ModelFileError, match="20001 tensors"):
        read_model_header(path)


@pytest.mark.parametrize("source", ["no\0name", "x" * 5000])
def test_what_is_no_name_of_a_file(source: str) -> None:
    with pytest.raises(ModelFileError):
        load_diffusion_model(source)


def test_vae_precision_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    half, full, brain = torch.float16, torch.float32, torch.bfloat16
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert vae_dtype(half, {"force_upcast": True}, cpu) == full
    assert vae_dtype(half, {}, cpu) == full  # absent is true, as in diffusers
    assert vae_dtype(half, {"force_upcast": False}, cpu) == full  # nothing is won by half on a CPU
    assert vae_dtype(brain, {"force_upcast": True}, cpu) == full
    assert vae_dtype(half, {"force_upcast": False}, cuda) == half  # the VAE that was repaired
    assert vae_dtype(brain, {"force_upcast": True}, cuda) == brain
    assert vae_dtype(full, {"force_upcast": True}, cuda) == full
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert vae_dtype(half, {"force_upcast": True}, cuda) == brain
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert vae_dtype(half, {"force_upcast": True}, cuda) == full


def test_a_file_with_a_number_format_of_the_future_is_named(tmp_path: Path) -> None:
    """The safetensors library refuses such a file whole, by a format that it does not know."""
    path = tmp_path / "vae.safetensors"
    entries = {
        name: {"dtype": "F3_NEW", "shape": [8], "data_offsets": [3 * i, 3 * i + 3]}
        for i, name in enumerate(("decoder.conv_in.weight", "decoder.conv_out.weight"))
    }
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(6))
    assert identify(path) == "a VAE"

"""LoRA files as ComfyUI, OneTrainer, peft and old diffusers write them; and those made for other models."""

from __future__ import annotations

import json
import os

import pytest
import torch

from tastemaker.loaders import ModelFileError, applied_loras, lora_state, read_lora, with_lora
from tastemaker.loaders.lora.apply import match, merged_bytes
from tastemaker.loaders.lora.keys import kohya_name, original_paths, parse_key
from tests.loaders.lora_files import dotted_state, random_layers, write

HOST_TEXT = {"text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.clip_g.transformer."}


def host_name(model, component: str, path: str) -> str:
    """What ComfyUI calls a module: the original layout, text encoders with `text_model.`"""
    if component == "unet":
        paths = [p for p, m in model.unet.named_modules() if getattr(m, "weight", None) is not None]
        return f"diffusion_model.{original_paths(paths)[path]}"
    inner = path if path.startswith(("text_model.", "text_projection")) else f"text_model.{path}"
    return HOST_TEXT[component] + inner


# --- ComfyUI: Extract and Save LoRA -------------------------------------------------------------

NORMS = [("unet", "down_blocks.1.resnets.0.norm1"), ("unet", "conv_norm_out")]
NORMS += [("unet", "down_blocks.1.attentions.0.transformer_blocks.0.norm2")]


def extracted(model, generator: torch.Generator) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Low-rank pairs, whole differences of norms, and of biases, as `bias_diff` adds them (nodes_lora_extract.py)."""
    text = {p.removeprefix("text_model."): p for p, _ in model.modules["text_encoder"].named_modules()}
    places = [*NORMS, ("unet", "conv_in"), ("unet", "time_embedding.linear_1")]
    places += [
        ("text_encoder", text[p])
        for p in ("encoder.layers.0.layer_norm1", "encoder.layers.0.mlp.fc1", "final_layer_norm")
    ]
    places += [("text_encoder", text["embeddings.token_embedding"]), ("text_encoder_2", "text_projection")]
    found = {}
    for component, path in places:
        module = model.modules[component].get_submodule(path)
        shape = module.weight.shape
        if len(shape) < 2:
            parts = {"diff": torch.randn(shape, generator=generator) * 0.1}
        else:
            up = torch.randn(shape[0], 2, *(1 for _ in shape[2:]), generator=generator) * 0.1
            parts = {"lora_up.weight": up, "lora_down.weight": torch.randn(2, *shape[1:], generator=generator) * 0.1}
        if getattr(module, "bias", None) is not None:
            parts["diff_b"] = torch.randn(shape[0], generator=generator) * 0.1
        found[component, path] = parts
    return found


def test_extract_and_save_lora(tmp_path, tiny_sdxl) -> None:
    """Every weight and bias is W + s D in float64, s of its own side; norms and embeddings too."""
    parts = extracted(tiny_sdxl, torch.Generator().manual_seed(1))
    state = {f"{host_name(tiny_sdxl, *place)}.{n}": t for place, found in parts.items() for n, t in found.items()}
    state["text_encoders.clip_l.transformer.text_projection.lora_up.weight"] = torch.zeros(4, 1)
    state["text_encoders.clip_l.transformer.text_projection.lora_down.weight"] = torch.zeros(1, 4)
    lora = read_lora(write(tmp_path / "extracted.safetensors", state))
    assert len(lora.notes) == 1
    assert lora.notes[0].endswith("left out the first text encoder's projection, which SDXL does not use (2 tensors).")
    model = with_lora(tiny_sdxl, lora, 0.5, -2.0)
    before = {c: dict(m.named_parameters()) for c, m in tiny_sdxl.modules.items()}
    changed = 0
    with applied_loras(model, ("unet", "text_encoder", "text_encoder_2")):
        for (component, path), found in parts.items():
            strength = 0.5 if component == "unet" else -2.0
            module, old = tiny_sdxl.modules[component].get_submodule(path), before[component]
            change = found.get("diff")
            if change is None:
                change = found["lora_up.weight"].double().flatten(1) @ found["lora_down.weight"].double().flatten(1)
            expected = old[f"{path}.weight"].double() + strength * change.double().reshape(module.weight.shape)
            assert (module.weight.double() - expected).abs().max() < 1e-5, path
            if "diff_b" in found:
                expected = old[f"{path}.bias"].double() + strength * found["diff_b"].double()
                assert (module.bias.double() - expected).abs().max() < 1e-6, path
                changed += 1
    assert changed == 8
    assert all(old[k] is p for c, old in before.items() for k, p in tiny_sdxl.modules[c].named_parameters())
    biases = sum(f["diff_b"].numel() for (c, _), f in parts.items() if c == "unet" and "diff_b" in f)
    weights = sum(before["unet"][f"{p}.weight"].numel() for c, p in parts if c == "unet")
    assert merged_bytes(model, ("unet",)) == 4 * (biases + weights)


def test_what_comfyui_does_not_know_by_kohya_names_is_written_by_its_own(tiny_sdxl) -> None:
    """Norms and embeddings of the text encoders have no kohya name there (comfy/lora.py: model_lora_keys_clip)."""
    names = [
        kohya_name("text_encoder", f"text_model.{p}") for p in ("final_layer_norm", "encoder.layers.0.layer_norm1")
    ]
    assert names == [
        "text_encoders.clip_l.transformer.text_model.final_layer_norm",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.layer_norm1",
    ]
    assert kohya_name("text_encoder_2", "encoder.layers.3.mlp.fc1") == "lora_te2_text_model_encoder_layers_3_mlp_fc1"


def test_a_bias_where_the_model_has_none(tmp_path, tiny_sdxl) -> None:
    """peft's lora_bias, scaled as the rest: a linear layer gets a bias for the block, and has none afterwards."""
    path = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    module = tiny_sdxl.unet.get_submodule(path)
    assert module.bias is None
    width = module.weight.shape[0]
    state = {f"unet.{path}.lora_B.weight": torch.zeros(width, 2), f"unet.{path}.lora_A.weight": torch.zeros(2, width)}
    state |= {f"unet.{path}.lora_B.bias": torch.arange(float(width)), f"unet.{path}.alpha": torch.tensor(4.0)}
    model = with_lora(tiny_sdxl, read_lora(write(tmp_path / "bias.safetensors", state)), 0.5)
    with applied_loras(model, ("unet",)):
        assert torch.equal(module.bias.detach(), torch.arange(float(width)))  # 0.5 * 4 / 2
    assert module.bias is None


TOKENS = "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("unet.conv_in.diff_b", (63,), "changes a bias of 63 numbers, and the model has 64"),
        ("unet.conv_in.diff", (64, 9, 3, 3), r"a weight of shape \(64, 9, 3, 3\), the model's is \(64, 4, 3, 3\)"),
        ("unet.conv_norm_out.w_norm", (32,), r"a weight of shape \(32,\), the model's is \(64,\)"),
        (
            "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.diff_b",
            (9,),
            "the model has none there",
        ),
        ("unet.conv_in.oft_blocks", (4, 4, 4), r"shape \(16, 1\), the model's is \(64, 4, 3, 3\)"),
        ("unet.conv_in.set_weight", (64, 4), r"shape \(64, 4\), the model's"),
    ],
)
def test_differences_that_do_not_fit(tmp_path, tiny_sdxl, name, shape, message) -> None:
    lora = read_lora(write(tmp_path / "odd.safetensors", {name: torch.ones(shape)}))
    with pytest.raises(ModelFileError, match=message):
        with_lora(tiny_sdxl, lora)


def test_magnitudes_of_a_wrong_shape(tmp_path, tiny_sdxl) -> None:
    state = {"lora_unet_conv_in.lora_up.weight": torch.ones(64, 2, 1, 1)}
    state |= {
        "lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3),
        "lora_unet_conv_in.dora_scale": torch.ones(1, 5),
    }
    lora = read_lora(write(tmp_path / "dora.safetensors", state))
    with pytest.raises(ModelFileError, match=r"with magnitudes of shape \(1, 5\)"):
        with_lora(tiny_sdxl, lora)


def test_factors_that_would_explode(tmp_path, tiny_sdxl) -> None:
    """LoKr of 4 MB that makes 2^40 numbers, LoHa of ranks in the millions: refused by their shapes, at no cost."""
    name = "lora_unet_conv_in"
    state = {f"{name}.lokr_w{i}": torch.zeros(1024, 1024, dtype=torch.float16) for i in (1, 2)}
    lora = read_lora(write(tmp_path / "kron.safetensors", state))
    with pytest.raises(ModelFileError, match=r"shape \(1048576, 1048576\), the model's is"):
        with_lora(tiny_sdxl, lora)
    sides = {"a": (1, 2**20), "b": (2**20, 1)}
    state = {f"{name}.hada_w{i}_{s}": torch.zeros(sides[s], dtype=torch.float16) for i in (1, 2) for s in "ab"}
    with pytest.raises(ModelFileError, match="rank 1,048,576"):
        read_lora(write(tmp_path / "loha.safetensors", state))


def test_a_widened_weight(tmp_path, tiny_sdxl) -> None:
    """reshape_weight (ComfyUI) of the model's own shape changes nothing; an inpainting model's does not fit."""
    name = "lora_unet_conv_in"
    for inputs in (4, 9):
        state = {
            f"{name}.lora_up.weight": torch.ones(64, 2, 1, 1),
            f"{name}.lora_down.weight": torch.ones(2, inputs, 3, 3),
        }
        state[f"{name}.reshape_weight"] = torch.tensor([64, inputs, 3, 3])
        lora = read_lora(write(tmp_path / "wide.safetensors", state))
        if inputs == 4:
            assert len(match(lora, tiny_sdxl)) == 1
        else:
            with pytest.raises(ModelFileError, match=r"shape \(64, 9, 3, 3\), the model's is \(64, 4, 3, 3\)"):
                with_lora(tiny_sdxl, lora)


# --- OneTrainer, SimpleTuner, old diffusers -----------------------------------------------------


def test_bundled_embeddings_are_left_out_and_named(tmp_path, tiny_sdxl, caplog) -> None:
    layers = random_layers(tiny_sdxl, [("unet", "conv_in")])
    state = lora_state(layers) | {f"bundle_emb.<cat>.{n}": torch.ones(1, 4) for n in ("clip_l", "clip_g")}
    lora = read_lora(write(tmp_path / "bundle.safetensors", state | {"emb_params": torch.ones(1, 4)}))
    assert set(lora.layers) == {("unet", "conv_in")}
    assert sorted(lora.notes) == [
        "bundle.safetensors: left out the textual inversion embedding bundled with it (1 tensor).",
        "bundle.safetensors: left out the textual inversion embeddings bundled with it (2 tensors).",
    ]
    assert "bundled with it" in caplog.text


def test_simpletuner_lycoris_names(tmp_path, tiny_sdxl) -> None:
    layers = random_layers(tiny_sdxl, [("unet", "mid_block.attentions.0.proj_in")])
    state = {k.replace("lora_unet_", "lycoris_"): v for k, v in lora_state(layers).items()}
    assert match(read_lora(write(tmp_path / "lycoris.safetensors", state)), tiny_sdxl).keys() == layers.keys()


@pytest.mark.parametrize(
    ("old", "new"), [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")]
)
def test_text_encoders_of_diffusers_before_0_18(old, new) -> None:
    """`DIFFUSERS_OLD_TO_PEFT` in diffusers' state_dict_utils.py renames them so."""
    key = parse_key(f"text_encoder_2.text_model.encoder.layers.3.self_attn.{old}_lora.up.weight")
    assert key == ("text_encoder_2", f"encoder_layers_3_self_attn_{new}", "up")


def test_diffusers_reads_every_layer_that_is_trained(tiny_sdxl) -> None:
    """Its kohya reader drops add_embedding under that name; by the name of the original layout it has it too."""
    from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
    from torch import nn

    paths = [p for p, m in tiny_sdxl.unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    layers = random_layers(tiny_sdxl, [("unet", path) for path in paths])
    state, alphas = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
        lora_state(layers), unet_config=tiny_sdxl.unet.config
    )
    ends = (".lora.up.weight", "_lora.up.weight", ".lora_B.weight")
    found = {key.removeprefix("unet.").removesuffix(end) for key in state for end in ends if key.endswith(end)}
    found = {f"{p}.0" if p.endswith(".to_out") else p for p in (path.replace(".processor", "") for path in found)}
    assert found == set(paths)
    assert len(alphas) == len(paths)


# --- peft ---------------------------------------------------------------------------------------

PATH = "mid_block.attentions.0.proj_in"


def peft_folder(tmp_path, model, config: object, *, name: str = "adapter_model.safetensors", rank: int = 4):
    layers = random_layers(model, [("unet", PATH), ("unet", "conv_in")], rank=rank)
    folder = tmp_path / "style"
    path = write(folder / name, dotted_state(layers, {"unet": "base_model.model."}))
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"peft_type": "LORA", "r": 4, "lora_alpha": 8}, (8 / 4, 8 / 5)),
        ({"lora_alpha": 8, "r": 4, "rank_pattern": {"conv_in": 5}, "alpha_pattern": {"proj_in": 3}}, (3 / 4, 8 / 5)),
        ({"lora_alpha": 8, "use_rslora": True}, (8 / 4**0.5, 8 / 5**0.5)),
        ({"r": 4}, (1.0, 1.0)),
    ],
    ids=["alpha", "patterns", "rslora", "none"],
)
def test_a_peft_folder_has_its_alpha_beside_it(tmp_path, tiny_sdxl, config, scales) -> None:
    """peft multiplies by lora_alpha / r, or / sqrt(r), of each layer's own rank (tuners/lora/layer.py)."""
    lora = read_lora(peft_folder(tmp_path, tiny_sdxl, config))
    found = match(lora, tiny_sdxl)
    assert (found["unet", PATH].scale, found["unet", "conv_in"].scale) == pytest.approx(scales)


def test_a_config_is_for_its_own_file_only(tmp_path, tiny_sdxl) -> None:
    """Beside another LoRA in the same folder, which it says nothing of."""
    path = peft_folder(tmp_path, tiny_sdxl, {"lora_alpha": 80}, name="other.safetensors")
    assert all(layer.alpha == layer.rank for layer in read_lora(path).layers.values())


def test_peft_scales_a_lokr_of_whole_factors(tmp_path) -> None:
    """alpha / r of its config, which LyCORIS and ComfyUI do not know (peft/tuners/lokr/layer.py: get_delta_weight)."""
    state = {"base_model.model.conv_in.lokr_w1": torch.full((4, 2), 2.0)}
    state["base_model.model.conv_in.lokr_w2"] = torch.ones(16, 2, 3, 3)
    path = write(tmp_path / "adapter_model.safetensors", state)
    weight = torch.zeros(64, 4, 3, 3)
    assert read_lora(path).layers["unet", "conv_in"].applied(weight, 1.0).unique().tolist() == [2.0]
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LOKR", "r": 8, "alpha": 2}))
    assert read_lora(path).layers["unet", "conv_in"].applied(weight, 1.0).unique().tolist() == [0.5]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "not a JSON object"),
        ('{"lora_alpha": "8"}', "alpha that is no number: 8"),
        ('{"lora_alpha": NaN}', "NaN is no number"),
        ('{"lora_alpha": 1' + "0" * 400 + "}", "out of range"),
        ('{"lora_alpha": true}', "no number"),
        ('{"alpha_pattern": [1], "r": 4}', "alpha_pattern that is no JSON object"),
        ('{"alpha_pattern": {"(a+)+$": 1}}', "no layer's path"),
        ('{"peft_type": "VERA"}', "adapter of the kind VERA. Of peft's adapters only LORA, LOHA, LOKR load"),
        ('{"peft_type": {"a": 1}}', "adapter of the kind"),
        ('{"use_dora": true}', "is a DoRA, by its settings, but holds no magnitudes"),
        ('{"r": 4, "a": "' + "x" * (4 * 2**20) + '"}', "larger than 4 MiB"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"lora_alpha": 1, "lora_alpha": 2}', "a key stands there twice"),
    ],
    ids=range(14),
)
def test_bad_adapter_configs(tmp_path, tiny_sdxl, config, message) -> None:
    path = peft_folder(tmp_path, tiny_sdxl, config)
    with pytest.raises(ModelFileError, match=message):
        read_lora(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_an_adapter_config_that_is_a_pipe(tmp_path, tiny_sdxl) -> None:
    path = peft_folder(tmp_path, tiny_sdxl, {})
    (path.parent / "adapter_config.json").unlink()
    os.mkfifo(path.parent / "adapter_config.json")
    with pytest.raises(ModelFileError, match="adapter_config.json in style is not a file"):
        read_lora(path)


# --- made for another model ---------------------------------------------------------------------

OTHERS = {
    "FLUX": [
        "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight",
        "lora_unet_single_blocks_7_linear1.lora_up.weight",
        "diffusion_model.double_blocks.0.txt_mlp.0.lora_A.weight",
        "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
        "lora_transformer_single_transformer_blocks_0_attn_to_q.lora_up.weight",
    ],
    "Stable Diffusion 3": [
        "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight",
        "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight",
        "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight",
    ],
    "Stable Diffusion 1 or 2": ["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"],
    "Stable Cascade": ["lora_prior_unet_down_blocks_0_1_mapper.lora_up.weight"],
    "Wan": ["diffusion_model.blocks.0.self_attn.q.lora_A.weight", "lora_unet_blocks_0_cross_attn_k.lora_up.weight"],
    "Qwen-Image": ["transformer_blocks.0.img_mlp.net.0.proj.lora_A.default.weight"],
    "Lumina 2 or Z-Image": ["diffusion_model.layers.0.attention.to_q.lora_A.weight"],
    "a model with a transformer in place of the UNet": ["transformer.transformer_blocks.0.attn1.to_q.lora_A.weight"],
}


@pytest.mark.parametrize(("model", "key"), [(m, k) for m, keys in OTHERS.items() for k in keys])
def test_a_file_for_another_model_is_named_for_what_it_is(tmp_path, model, key) -> None:
    path = write(tmp_path / "other.safetensors", {key: torch.ones(4, 4)})
    with pytest.raises(ModelFileError) as e:
        read_lora(path)
    assert f"other.safetensors was made for {model}, not for SDXL" in str(e.value)
    assert "checkpoint" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "width", "model"),
    [
        ("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", 320, "Stable Diffusion 1 or 2"),
        ("input_blocks_1_1_transformer_blocks_0_attn1_to_q", 320, "Stable Diffusion 1 or 2"),
        ("mid_block_attentions_7_transformer_blocks_0_attn2_to_k", 768, "Stable Diffusion 1"),
        ("mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768, "Stable Diffusion 1"),
        ("mid_block_attentions_0_transformer_blocks_0_attn2_to_v", 1024, "Stable Diffusion 2"),
        ("mid_block_attentions_0_transformer_blocks_0_attn2_to_v", 1280, "the SDXL refiner"),
        ("mid_block_attentions_0_transformer_blocks_0_attn2_to_v", 99, "another model"),
    ],
)
def test_a_unet_of_another_model_is_told_by_its_layers(tmp_path, tiny_sdxl, name, width, model) -> None:
    state = {
        f"lora_unet_{name}.lora_up.weight": torch.ones(128, 2),
        f"lora_unet_{name}.lora_down.weight": torch.ones(2, width),
    }
    lora = read_lora(write(tmp_path / "sd.safetensors", state))
    with pytest.raises(ModelFileError, match=rf"made for {model}[.:]"):
        with_lora(tiny_sdxl, lora)

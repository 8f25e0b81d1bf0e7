"""LoRAs: read in every spelling, used without a trace, refused in clear words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tastemaker.loaders import (
    InputError,
    ModelFileError,
    NonFiniteError,
    applied_loras,
    lora_state,
    read_lora,
    with_lora,
)
from tastemaker.loaders.lora.apply import match, merged_bytes
from tastemaker.loaders.lora.keys import original_paths, parse_key, spellings
from tastemaker.loaders.lora.layers import LoraLayer
from tastemaker.loaders.lora.read import make_lora
from tests.loaders.lora_files import attention_paths, by_hand, dotted_state, random_layers, write

UNET_PATHS = [
    ("unet", "conv_in"),
    ("unet", "time_embedding.linear_2"),
    ("unet", "add_embedding.linear_1"),
    ("unet", "down_blocks.0.resnets.1.conv1"),
    ("unet", "down_blocks.0.downsamplers.0.conv"),
    ("unet", "down_blocks.1.resnets.0.conv_shortcut"),
    ("unet", "down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_out.0"),
    ("unet", "down_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj"),
    ("unet", "mid_block.attentions.0.proj_in"),
    ("unet", "mid_block.resnets.1.time_emb_proj"),
    ("unet", "up_blocks.0.attentions.2.transformer_blocks.0.attn1.to_q"),
    ("unet", "up_blocks.0.upsamplers.0.conv"),
    ("unet", "up_blocks.1.resnets.2.conv2"),
    ("unet", "conv_out"),
]
TEXT_PATHS = [("text_encoder_2", "text_projection"), ("text_encoder_2", "text_model.encoder.layers.1.mlp.fc1")]


@pytest.fixture(scope="module")
def layers(tiny_sdxl):
    paths = dict.fromkeys([*UNET_PATHS, *TEXT_PATHS, *attention_paths(tiny_sdxl)])
    return random_layers(tiny_sdxl, paths)


@pytest.fixture(scope="module")
def unet_layers(tiny_sdxl):
    return random_layers(tiny_sdxl, UNET_PATHS)


def weights_of(model) -> dict[str, torch.Tensor]:
    return {f"{c}.{k}": v.clone() for c, m in model.modules.items() for k, v in m.state_dict().items()}


def assert_same_layers(found, expected) -> None:
    assert found.keys() == expected.keys()
    for key, layer in expected.items():
        assert found[key].alpha == layer.alpha
        assert torch.equal(found[key].up.flatten(1), layer.up.flatten(1))
        assert torch.equal(found[key].down, layer.down)


# --- spellings ----------------------------------------------------------------------------------


def test_kohya_round_trip_keeps_every_layer_rank_and_alpha(tmp_path, tiny_sdxl, layers) -> None:
    path = write(tmp_path / "kohya.safetensors", lora_state(layers))
    assert_same_layers(match(read_lora(path), tiny_sdxl), layers)
    assert len({layer.rank for layer in layers.values()}) == 3


def test_kohya_names_are_the_ones_hosts_know(tiny_sdxl, layers) -> None:
    """The exact key of one layer of each component, text encoders with `text_model_` in any transformers."""
    keys = set(lora_state(layers))
    first = next(path for component, path in layers if component == "text_encoder")
    assert first.endswith("encoder.layers.0.self_attn.k_proj")
    assert {
        "lora_unet_down_blocks_1_attentions_1_transformer_blocks_0_attn2_to_out_0.lora_up.weight",
        "lora_unet_down_blocks_0_downsamplers_0_conv.alpha",
        "lora_te1_text_model_encoder_layers_0_self_attn_k_proj.lora_down.weight",
        "lora_te2_text_model_encoder_layers_1_mlp_fc1.lora_down.weight",
        "lora_te2_text_projection.lora_up.weight",
    } <= keys


# written out by hand from the block order of SDXL's own UNet; tiny-sdxl has two levels of two residual blocks
ORIGINAL = {
    "conv_in": "input_blocks_0_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "down_blocks.0.resnets.1.conv1": "input_blocks_2_0_in_layers_2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_4_0_skip_connection",
    "down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_out.0": "input_blocks_5_1_transformer_blocks_0_"
    "attn2_to_out_0",
    "down_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj": "input_blocks_5_1_transformer_blocks_0_"
    "ff_net_0_proj",
    "mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
    "mid_block.resnets.1.time_emb_proj": "middle_block_2_emb_layers_1",
    "up_blocks.0.attentions.2.transformer_blocks.0.attn1.to_q": "output_blocks_2_1_transformer_blocks_0_attn1_to_q",
    "up_blocks.0.upsamplers.0.conv": "output_blocks_2_2_conv",
    "up_blocks.1.resnets.2.conv2": "output_blocks_5_0_out_layers_3",
    "conv_out": "out_2",
}


def test_kohya_in_the_original_sdxl_layout(tmp_path, tiny_sdxl, unet_layers) -> None:
    state = {}
    for (_, path), layer in unet_layers.items():
        name = f"lora_unet_{ORIGINAL[path]}"
        state |= {f"{name}.lora_up.weight": layer.up, f"{name}.lora_down.weight": layer.down}
        state[f"{name}.alpha"] = torch.tensor(layer.alpha, dtype=torch.bfloat16)
    found = match(read_lora(write(tmp_path / "sdxl.safetensors", state)), tiny_sdxl)
    assert_same_layers(found, unet_layers)


def test_comfyui_spelling(tmp_path, tiny_sdxl, unet_layers) -> None:
    original = original_paths(p for p, m in tiny_sdxl.unet.named_modules() if getattr(m, "weight", None) is not None)
    renamed = {("unet", original[path]): layer for (_, path), layer in unet_layers.items()}
    state = dotted_state(renamed, {"unet": "diffusion_model."})
    found = match(read_lora(write(tmp_path / "comfy.safetensors", state)), tiny_sdxl)
    assert found.keys() == unet_layers.keys()
    assert all(layer.alpha == layer.rank for layer in found.values())


DIFFUSERS = {"unet": "unet.", "text_encoder": "text_encoder.", "text_encoder_2": "text_encoder_2."}


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("lora_B", "lora_A"),
        ("lora_B.default", "lora_A.default"),
        ("lora.up", "lora.down"),
        ("lora_linear_layer.up", "lora_linear_layer.down"),
    ],
)
@pytest.mark.parametrize("text_model", [True, False])
def test_diffusers_spellings(tmp_path, tiny_sdxl, layers, up, down, text_model) -> None:
    state = dotted_state(layers, DIFFUSERS, up, down)
    bare = {k.replace("text_encoder.text_model.", "text_encoder."): v for k, v in state.items()}
    if text_model:
        bare = {k.replace("text_encoder.encoder.", "text_encoder.text_model.encoder."): v for k, v in bare.items()}
    found = match(read_lora(write(tmp_path / "diffusers.safetensors", bare)), tiny_sdxl)
    assert found.keys() == layers.keys()
    assert all(layer.alpha == layer.rank for layer in found.values())


def test_alphas_in_the_metadata_of_diffusers_files(tmp_path, tiny_sdxl, layers) -> None:
    """lora_alpha is for all layers of a component, alpha_pattern for some; rslora divides by sqrt(rank)."""
    settings = {
        "unet.lora_alpha": 8,
        "unet.alpha_pattern": {"mid_block.attentions.0.proj_in": 5.0, "proj_in": 3.0, "in": 2.0},
        "text_encoder_2.lora_alpha": 6,
        "text_encoder_2.use_rslora": True,
    }
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    path = write(tmp_path / "alphas.safetensors", dotted_state(layers, DIFFUSERS), metadata)
    found = match(read_lora(path), tiny_sdxl)
    assert found["unet", "conv_in"].alpha == 8
    assert found["unet", "mid_block.attentions.0.proj_in"].alpha == 5
    layer = found["text_encoder_2", "text_projection"]
    assert layer.scale == pytest.approx(6 / layer.rank**0.5)
    first = next(layer for (component, _), layer in found.items() if component == "text_encoder")
    assert first.alpha == first.rank


@pytest.mark.parametrize("prefix", ["base_model.model.", "base_model.model.unet.", "", "unet.base_model.model."])
def test_peft_spellings(tmp_path, tiny_sdxl, unet_layers, prefix) -> None:
    state = dotted_state(unet_layers, {"unet": prefix})
    found = match(read_lora(write(tmp_path / "peft.safetensors", state)), tiny_sdxl)
    assert found.keys() == unet_layers.keys()


def test_attention_processors_of_old_diffusers() -> None:
    key = parse_key("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight")
    assert key == ("unet", "mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0", "up")


def test_a_unet_without_original_names_takes_its_own() -> None:
    """class_embedding is in no SDXL UNet, so only diffusers' spelling is known."""
    assert original_paths(["conv_in", "class_embedding.linear_1"]) == {}
    assert spellings("unet", ["conv_in", "class_embedding.linear_1"]) == {
        "conv_in": "conv_in",
        "class_embedding_linear_1": "class_embedding.linear_1",
    }


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_conv_in\u202e.lora_up.weight",
        "lora_unet_conv_in.lora_up.weight\n",
        "lora_unet_conv_in<img src=x>.alpha",
        "lora_unet_conv_in" + "_a" * 200 + ".alpha",
        "lora_unet_.alpha",
        ".alpha",
        "",
        "lora_te1_text_model_.alpha",
        "unet.conv_in.lora_A.../x.weight",
    ],
    ids=ascii,
)
def test_names_that_are_no_layers(key) -> None:
    assert parse_key(key) is None


# --- use ----------------------------------------------------------------------------------------


def test_merged_weights_are_the_definition(tiny_sdxl, layers) -> None:
    """To 1e-5 of float64 arithmetic, two LoRAs stacked, convolutions and both text encoders too."""
    other = {key: LoraLayer(layer.up, layer.down * 2, 1.0) for key, layer in list(layers.items())[::2]}
    one = make_lora("one", {(c, flat(c, p)): layer for (c, p), layer in layers.items()})
    two = make_lora("two", {(c, flat(c, p)): layer for (c, p), layer in other.items()})
    model = with_lora(with_lora(tiny_sdxl, one, 0.7), two, -0.3)
    expected = by_hand(tiny_sdxl, layers, 0.7)
    for key, value in by_hand(tiny_sdxl, other, -0.3).items():
        base = tiny_sdxl.modules[key[0]].get_submodule(key[1]).weight.double()
        expected[key] = expected[key] + value - base
    with applied_loras(model, ("unet", "text_encoder", "text_encoder_2")):
        for (component, path), wanted in expected.items():
            weight = tiny_sdxl.modules[component].get_submodule(path).weight
            assert weight.dtype == torch.float32
            assert (weight.double() - wanted).abs().max() < 1e-5


def flat(component: str, path: str) -> str:
    return (path if component == "unet" else path.removeprefix("text_model.")).replace(".", "_")


@pytest.fixture
def lora(layers):
    return make_lora("my-lora", {(c, flat(c, p)): layer for (c, p), layer in layers.items()})


def test_the_network_computes_what_merged_weights_compute(tiny_sdxl, unet_layers) -> None:
    """Against a copy of the UNet whose weights were merged by hand in float64."""
    import copy

    torch.manual_seed(0)
    inputs = (torch.randn(2, 4, 16, 16), 300, torch.randn(2, 77, 160))
    added = {"text_embeds": torch.randn(2, 96), "time_ids": torch.full((2, 6), 64.0)}
    merged = copy.deepcopy(tiny_sdxl.unet)
    for (_, path), weight in by_hand(tiny_sdxl, unet_layers, 1.5).items():
        merged.get_submodule(path).weight.data = weight.float()
    lora = make_lora("u", {(c, flat(c, p)): layer for (c, p), layer in unet_layers.items()})
    model = with_lora(tiny_sdxl, lora, 1.5)
    with torch.no_grad():
        base = tiny_sdxl.unet(*inputs, added_cond_kwargs=added).sample
        expected = merged(*inputs, added_cond_kwargs=added).sample
        with applied_loras(model, ("unet",)):
            found = model.unet(*inputs, added_cond_kwargs=added).sample
        after = tiny_sdxl.unet(*inputs, added_cond_kwargs=added).sample
    assert (found - expected).abs().max() < 1e-5
    assert (found - base).abs().max() > 0.01
    assert torch.equal(after, base)


def test_nothing_is_left_behind(tiny_sdxl, lora) -> None:
    """The same Parameter objects with the same bits, after a good end and after an error."""
    before = weights_of(tiny_sdxl)
    parameters = [id(p) for m in tiny_sdxl.modules.values() for p in m.parameters()]
    model = with_lora(tiny_sdxl, lora)
    with applied_loras(model, ("unet",)):
        assert id(tiny_sdxl.unet.conv_in.weight) not in parameters
    with pytest.raises(KeyboardInterrupt), applied_loras(model, ("unet", "text_encoder")):
        raise KeyboardInterrupt
    assert [id(p) for m in tiny_sdxl.modules.values() for p in m.parameters()] == parameters
    assert all(torch.equal(v, before[k]) for k, v in weights_of(tiny_sdxl).items())


def test_only_the_named_components_change(tiny_sdxl, lora) -> None:
    model = with_lora(tiny_sdxl, lora)
    text = tiny_sdxl.modules["text_encoder_2"].text_projection.weight
    unet = tiny_sdxl.unet.conv_in.weight
    with applied_loras(model, ("unet",)):
        assert tiny_sdxl.modules["text_encoder_2"].text_projection.weight is text
        assert tiny_sdxl.unet.conv_in.weight is not unet
    with applied_loras(model, ("text_encoder", "text_encoder_2")):
        assert tiny_sdxl.modules["text_encoder_2"].text_projection.weight is not text
        assert tiny_sdxl.unet.conv_in.weight is unet


def test_strength_zero_is_the_base_bit_for_bit(tiny_sdxl, lora) -> None:
    unet = tiny_sdxl.unet.conv_in.weight
    text = tiny_sdxl.modules["text_encoder_2"].text_projection.weight
    with applied_loras(with_lora(tiny_sdxl, lora, 0.0), ("unet", "text_encoder_2")):
        assert tiny_sdxl.unet.conv_in.weight is unet
    with applied_loras(with_lora(tiny_sdxl, lora, 1.0, 0.0), ("unet", "text_encoder_2")):
        assert tiny_sdxl.unet.conv_in.weight is not unet
        assert tiny_sdxl.modules["text_encoder_2"].text_projection.weight is text


def test_handles_share_modules_and_have_names_of_their_own(tiny_sdxl, lora, layers) -> None:
    first = with_lora(tiny_sdxl, lora)
    assert first.unet is tiny_sdxl.unet
    assert tiny_sdxl.loras == ()
    others = [
        tiny_sdxl,
        first,
        with_lora(first, lora),
        with_lora(tiny_sdxl, lora, 0.5),
        with_lora(tiny_sdxl, lora, 1.0, 0.5),
    ]
    assert len({m.fingerprint for m in others}) == len(others)
    again = make_lora("renamed", dict(lora.layers))
    assert with_lora(tiny_sdxl, again).fingerprint == first.fingerprint
    changed = dict(lora.layers)
    key, layer = next(iter(changed.items()))
    changed[key] = LoraLayer(layer.up, layer.down + 1e-6, layer.alpha)
    assert with_lora(tiny_sdxl, make_lora("my-lora", changed)).fingerprint != first.fingerprint


def test_gradients_and_half_precision(tiny_sdxl, unet_layers) -> None:
    """A Parameter that requires grad is stood in for by one that does; bfloat16 is merged in float32."""
    import copy
    from dataclasses import replace

    unet = copy.deepcopy(tiny_sdxl.unet).to(torch.bfloat16).requires_grad_(True)
    base = replace(tiny_sdxl, modules={**tiny_sdxl.modules, "unet": unet})
    lora = make_lora("u", {(c, flat(c, p)): layer for (c, p), layer in unet_layers.items()})
    wanted = by_hand(base, unet_layers, 1.0)["unet", "conv_in"].float().to(torch.bfloat16)
    with applied_loras(with_lora(base, lora), ("unet",)):
        weight = unet.conv_in.weight
        assert weight.requires_grad
        assert weight.dtype == torch.bfloat16
        assert (weight.float() - wanted.float()).abs().max() <= 2**-8 * wanted.float().abs().max()
        (weight.sum() * 2).backward()
        assert torch.equal(weight.grad, torch.full_like(weight, 2))
    assert unet.conv_in.weight.grad is None


def test_tucker_form(tiny_sdxl) -> None:
    """LoCon with a core: the change of a 3x3 convolution is up x core x down, summed over both ranks."""
    torch.manual_seed(1)
    weight = tiny_sdxl.unet.conv_in.weight
    up, mid, down = torch.randn(weight.shape[0], 2, 1, 1), torch.randn(2, 2, 3, 3), torch.randn(2, 4, 1, 1)
    lora = make_lora("locon", {("unet", "conv_in"): LoraLayer(up, down, 1.0, mid)})
    expected = weight.double().clone()
    for i in range(2):
        for j in range(2):
            outer = up[:, i, 0, 0].double()[:, None, None, None] * down[j, :, 0, 0].double()[None, :, None, None]
            expected += 0.5 * outer * mid[i, j].double()
    with applied_loras(with_lora(tiny_sdxl, lora), ("unet",)):
        assert (tiny_sdxl.unet.conv_in.weight.double() - expected).abs().max() < 1e-5
    state = lora_state({("unet", "conv_in"): LoraLayer(up, down, 1.0, mid)})
    ends = ("alpha", "lora_up.weight", "lora_down.weight", "lora_mid.weight")
    assert set(state) == {f"lora_unet_conv_in.{end}" for end in ends}


def test_a_model_cannot_be_used_inside_its_own_use(tiny_sdxl, lora) -> None:
    model = with_lora(tiny_sdxl, lora)
    before = tiny_sdxl.unet.conv_in.weight
    inner = applied_loras(model, ("unet",))
    with applied_loras(model, ("unet",)), pytest.raises(RuntimeError, match="already runs"), inner:
        pass
    assert tiny_sdxl.unet.conv_in.weight is before


def test_an_overflow_names_the_lora(tiny_sdxl) -> None:
    weight = tiny_sdxl.unet.conv_in.weight
    layer = LoraLayer(torch.full((64, 1), 1e30), torch.full((1, 4, 3, 3), 1e30), 1.0)
    model = with_lora(tiny_sdxl, make_lora("loud", {("unet", "conv_in"): layer}))
    with pytest.raises(NonFiniteError, match="loud at 1"), applied_loras(model, ("unet",)):
        pass
    assert tiny_sdxl.unet.conv_in.weight is weight


def test_memory_is_foreseen(tiny_sdxl, lora) -> None:
    model = with_lora(tiny_sdxl, lora)
    text = tiny_sdxl.modules["text_encoder_2"]
    paths = [path for component, path in lora_targets(model) if component == "text_encoder_2"]
    expected = sum(text.get_submodule(p).weight.numel() * 4 for p in paths)
    assert merged_bytes(model, ("text_encoder_2",)) == expected
    assert merged_bytes(tiny_sdxl, ("unet",)) == 0


def lora_targets(model):
    return model.loras[0].targets


def test_a_ddpm_takes_a_lora_on_its_unet(tiny_ddpm) -> None:
    path = "mid_block.attentions.0.to_q"
    layers = random_layers(tiny_ddpm, [("unet", path)])
    lora = make_lora("d", {("unet", path.replace(".", "_")): layers["unet", path]})
    weight = tiny_ddpm.unet.get_submodule(path).weight
    with applied_loras(with_lora(tiny_ddpm, lora), ("unet", "text_encoder")):
        assert tiny_ddpm.unet.get_submodule(path).weight is not weight


@pytest.mark.parametrize("name", ["strength", "strength_text"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 20.5, -21, "1", True], ids=repr)
def test_bad_strengths(tiny_sdxl, lora, name, value) -> None:
    with pytest.raises(InputError, match=f"^{name}: "):
        with_lora(tiny_sdxl, lora, **{name: value})


# --- refusals -----------------------------------------------------------------------------------


def test_layers_of_another_model_are_listed(tmp_path, tiny_sdxl, layers) -> None:
    state = lora_state(layers)
    renamed = {k.replace("down_blocks_1", "down_blocks_2"): v for k, v in state.items()}
    lora = read_lora(write(tmp_path / "other.safetensors", renamed))
    count = sum("down_blocks.1." in path for _, path in layers)
    with pytest.raises(ModelFileError, match=f"other was made for another model: {count} of its {len(layers)}") as e:
        with_lora(tiny_sdxl, lora)
    assert "unet.down_blocks_2_attentions_0_transformer_blocks_0_attn1_to_k" in str(e.value)
    assert f"and {count - 5} more" in str(e.value)


def test_text_layers_on_a_model_without_that_encoder(tiny_sdxl, lora) -> None:
    from dataclasses import replace

    modules = {c: m for c, m in tiny_sdxl.modules.items() if c != "text_encoder"}
    refiner = replace(tiny_sdxl, architecture="sdxl-refiner", modules=modules)
    with pytest.raises(ModelFileError, match=r"text_encoder\.encoder_layers_0_self_attn"):
        with_lora(refiner, lora)


def test_a_wrong_shape(tiny_sdxl) -> None:
    layer = LoraLayer(torch.zeros(64, 2), torch.zeros(2, 5, 3, 3), 2.0)
    with pytest.raises(ModelFileError, match=r"shape \(64, 5, 3, 3\), the model's is \(64, 4, 3, 3\)"):
        with_lora(tiny_sdxl, make_lora("odd", {("unet", "conv_in"): layer}))


def test_one_module_named_twice(tiny_sdxl, unet_layers) -> None:
    layer = unet_layers["unet", "conv_in"]
    lora = make_lora("twice", {("unet", "conv_in"): layer, ("unet", "input_blocks_0_0"): layer})
    with pytest.raises(ModelFileError, match="twice names unet.conv_in twice"):
        with_lora(tiny_sdxl, lora)


PLAIN = {"lora_unet_conv_in.lora_up.weight": torch.ones(64, 2, 1, 1)}
PLAIN |= {"lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3), "lora_unet_conv_in.alpha": torch.tensor(2.0)}
UP, DOWN, ALPHA = PLAIN

CONV_IN = "lora_unet_conv_in"
LOHA = {f"{CONV_IN}.hada_w{i}_a": torch.ones(64, 2) for i in (1, 2)}
LOHA |= {f"{CONV_IN}.hada_w{i}_b": torch.ones(2, 36) for i in (1, 2)}
BAD_STATES = {
    "a DoRA, by its settings": {"unet.conv_in.lora_B.weight": PLAIN[UP], "unet.conv_in.lora_A.weight": PLAIN[DOWN]},
    "two magnitudes": PLAIN
    | {f"{CONV_IN}.dora_scale": torch.ones(64, 1, 1, 1), "unet.conv_in.lora_magnitude_vector": torch.ones(64)},
    "incomplete: .* but not hada_w1_b, hada_w2_a, hada_w2_b": {f"{CONV_IN}.hada_w1_a": torch.ones(4, 4)},
    "two kinds of LoRA: .*diff": PLAIN | {f"{CONV_IN}.diff": torch.ones(64, 4, 3, 3)},
    "two kinds of LoRA: .*hada": PLAIN | LOHA,
    "a LoRA with biases inside": PLAIN | {"unet.conv_out.lora_A.bias": torch.ones(4)},
    "two biases": PLAIN | {f"{CONV_IN}.lora_up.bias": torch.ones(64), f"{CONV_IN}.diff_b": torch.ones(64)},
    "a T-LoRA": {f"{CONV_IN}.lambda_layer": torch.ones(1, 4)},
    "an OFT of another layout": {"unet.conv_in.oft_R": torch.ones(2, 6)},
    r"an \(IA\)\^3 of peft": {"unet.conv_in.ia3_l": torch.ones(4)},
    "a ControlNet-LLLite": {"lllite_unet_input_blocks_4_1.down.0.weight": torch.ones(4, 4)},
    "a Control-LoRA": {"lora_controlnet": torch.ones(1), "input_blocks.0.0.up": torch.ones(4, 4)},
    "made for Stable Diffusion 1 or 2": PLAIN
    | {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 4)},
    "Is it a checkpoint": {"conv_in.weight": torch.ones(4, 4), "conv_out.weight": torch.ones(4)},
    "LoRA layers, but for a model that is not known": {"backbone.a.lora_A.weight": torch.ones(4, 4)},
    "incomplete: .* has up, but not down": {UP: PLAIN[UP]},
    "has alpha, but not down, up": PLAIN | {"lora_unet_conv_out.alpha": torch.tensor(1.0)},
    "two up parts": PLAIN | {"unet.conv_in.lora_B.weight": torch.ones(64, 2)},
    "do not fit each other": PLAIN | {UP: torch.ones(64, 3, 1, 1)},
    r"do not fit each other \(w1_a": LOHA | {f"{CONV_IN}.hada_w2_b": torch.ones(3, 36)},
    r"do not fit each other \(w1 ": {f"{CONV_IN}.lokr_w1": torch.ones(4, 2)},
    r"do not fit each other \(w1_a .*w2 ": {
        f"{CONV_IN}.lokr_w1_a": torch.ones(4, 2),
        f"{CONV_IN}.lokr_w1_b": torch.ones(3, 2),
        f"{CONV_IN}.lokr_w2": torch.ones(16, 2, 3, 3),
    },
    r"do not fit each other \(a1": {f"{CONV_IN}.{n}.weight": torch.ones(4, 3) for n in ("a1", "a2", "b1", "b2")},
    r"do not fit each other \(blocks": {f"{CONV_IN}.oft_blocks": torch.ones(16, 4, 3)},
    r"do not fit each other \(blocks \(9": {f"{CONV_IN}.oft_blocks": torch.ones(9, 16, 4, 4)},
    "which is no LoRA's": {f"{CONV_IN}.oft_blocks": torch.ones(16, 4, 3, 2, 1)},
    "rank 16,385": {UP: torch.ones(1, 16_385), DOWN: torch.ones(16_385, 1)},
    "for a weight of shape .*9, 3, 3": PLAIN | {f"{CONV_IN}.reshape_weight": torch.tensor([64, 9, 3, 3])},
    "NaN or infinity in its up": PLAIN | {UP: torch.full((64, 2, 1, 1), float("nan"))},
    "NaN or infinity in its down": PLAIN | {DOWN: torch.full((2, 4, 3, 3), float("inf"))},
    "NaN or infinity in its magnitude": PLAIN | {f"{CONV_IN}.dora_scale": torch.full((64, 1), float("nan"))},
    "alpha nan": PLAIN | {ALPHA: torch.tensor(float("nan"))},
    "an alpha is one number": PLAIN | {ALPHA: torch.ones(2)},
    "no LoRA's": PLAIN | {DOWN: torch.ones(2)},
    r"up of torch.int64": PLAIN | {UP: torch.ones(64, 2, dtype=torch.int64)},
    r"\(64, 0, 1, 1\), which is no LoRA's": PLAIN | {UP: torch.ones(64, 0, 1, 1), DOWN: torch.ones(0, 4, 3, 3)},
}
SETTINGS = {"a DoRA, by its settings": {"lora_adapter_metadata": '{"unet.use_dora": true}'}}


@pytest.mark.parametrize("message", BAD_STATES)
def test_files_that_are_no_lora_for_this(tmp_path, message) -> None:
    path = write(tmp_path / "bad.safetensors", BAD_STATES[message], SETTINGS.get(message))
    with pytest.raises(ModelFileError, match=message):
        read_lora(path)


BAD_BYTES = {
    "an empty file": b"",
    "not a safetensors file": b"ab",
    "a pickle": b"\x80\x04 and so on, a pickle",
    "a web page": b"<html>Access denied</html>",
    "truncated": (2**40).to_bytes(8, "little") + b"{}",
    "is damaged": (16).to_bytes(8, "little") + b'{"a": [1, 2, 3]}',
}


@pytest.mark.parametrize("message", BAD_BYTES)
def test_files_that_are_no_safetensors(tmp_path, message) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(BAD_BYTES[message])
    with pytest.raises(ModelFileError, match=f"bad.safetensors is .*{message.removeprefix('is ')}"):
        read_lora(path)


@pytest.mark.parametrize("first", [0x80, 0x3C, 0x50])
def test_a_header_length_that_looks_like_something_else(tmp_path, first) -> None:
    """The first byte is the low byte of the header's length; 0x80, < and P are no pickle or page here."""
    from safetensors.torch import save

    data = save({UP: PLAIN[UP], DOWN: PLAIN[DOWN]})
    length = int.from_bytes(data[:8], "little")
    padded = length + (first - length) % 256
    path = tmp_path / "padded.safetensors"
    path.write_bytes(padded.to_bytes(8, "little") + data[8 : 8 + length].ljust(padded) + data[8 + length :])
    assert read_lora(path).layers["unet", "conv_in"].alpha == 2


def test_a_truncated_lora(tmp_path) -> None:
    path = write(tmp_path / "cut.safetensors", PLAIN)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="cut.safetensors in .* is damaged"):
        read_lora(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("[1]", "no JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"unet.lora_alpha": "8"}', "no number"),
        ('{"unet.lora_alpha": NaN}', "NaN is no number"),
        ('{"unet.lora_alpha": 1' + "0" * 400 + "}", "out of range"),
        ('{"unet.alpha_pattern": {"(a+)+$": 1}}', "no layer's path"),
        ('{"unet.alpha_pattern": [1]}', "no JSON object"),
        ('{"unet.alpha_pattern": {"' + "a." * 40 + 'a": 1}}', "no layer's path"),
        ('{"text_encoder.alpha_pattern": {' + ", ".join(f'"a{i}": 1' for i in range(50_001)) + "}}", "50,001 alpha_p"),
        ('{"unet.use_dora": true}', "is a DoRA"),
    ],
)
def test_bad_adapter_metadata(tmp_path, metadata, message) -> None:
    state = {"unet.conv_in.lora_B.weight": PLAIN[UP], "unet.conv_in.lora_A.weight": PLAIN[DOWN]}
    path = write(tmp_path / "meta.safetensors", state, {"lora_adapter_metadata": metadata})
    with pytest.raises(ModelFileError, match=message):
        read_lora(path)


def test_the_state_is_ready_to_be_saved(tmp_path: Path, layers) -> None:
    """Contiguous copies that share nothing with the layers, each with its own alpha."""
    state = lora_state(layers)
    path = write(tmp_path / "again.safetensors", state)
    assert load_file(path).keys() == state.keys()
    assert all(t.is_contiguous() for t in state.values())
    first = next(iter(layers.values()))
    assert state["lora_unet_conv_in.lora_up.weight"].data_ptr() != first.up.data_ptr()
    assert float(state["lora_unet_conv_in.alpha"]) == first.alpha

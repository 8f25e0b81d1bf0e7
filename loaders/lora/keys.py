"""Names in LoRA files. Pure functions: text in, text out.

These spellings are met for one layer, here the query of the first SDXL attention:

    kohya              lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight
    kohya, SDXL's own  lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight
    diffusers          unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
    peft               base_model.model.down_blocks.1.attentions.0. ... .attn1.to_q.lora_A.default.weight
    ComfyUI            diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_A.weight
    LyCORIS            lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight

Kohya writes every dot as an underscore, which cannot be undone without the model. So a layer's name
is kept *flat*, with underscores, and the model's own module paths are flattened to look it up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..layout.configs import UNET as PREFIX
from ..layout.original import unet_sources

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"

# ending of a key -> which part of a layer it is
_ENDINGS = tuple(
    (re.compile(pattern + r"\Z"), part)
    for pattern, part in (
        (r"\.lora_up\.weight", "up"),
        (r"\.lora_down\.weight", "down"),
        (r"\.lora_mid\.weight", "mid"),
        (r"\.lora_B(\.[A-Za-z0-9_-]+)?\.weight", "up"),
        (r"\.lora_A(\.[A-Za-z0-9_-]+)?\.weight", "down"),
        (r"[._]lora(_linear_layer)?\.up\.weight", "up"),
        (r"[._]lora(_linear_layer)?\.down\.weight", "down"),
        (r"\.alpha", "alpha"),
        (r"\.dora_scale", "magnitude"),
        (r"\.lora_magnitude_vector(\.[A-Za-z0-9_-]+)??(\.weight)?", "output_magnitude"),  # peft's
        (r"\.(lora_up|lora_B(\.[A-Za-z0-9_-]+)?)\.bias", "scaled_bias"),
        (r"\.(diff_b|b_norm)", "bias"),
        (r"\.(diff|w_norm)", "diff"),
        (r"\.set_weight", "value"),
        (r"\.reshape_weight", "reshape"),
        (r"\.on_input", "on_input"),
        (r"\.oft_blocks", "blocks"),
        (r"\.rescale", "rescale"),
    )
)
# endings that are a part's own name: LoHa's hada_w1_a, LoKr's lokr_w1, GLoRA's a1.weight and their kin
_NAMED_ENDING = re.compile(
    r"\.(hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|[ab][12](?=\.weight))(?:\.weight)?\Z"
)
# what a piece of a key says about a kind of file that cannot be used
_OTHER_KINDS = (
    (("oft_diag", "oft_R", "oft_r", "boft_R"), "an OFT of another layout than LyCORIS'"),
    (("ia3_l",), "an (IA)^3 of peft"),
    (("vera_lambda_",), "a VeRA"),
    (("lora_E", "ranknum"), "an AdaLoRA"),
    (("lambda_layer",), "a T-LoRA, which changes with the timestep"),
    (("lora_A.bias", "lora_down.bias"), "a LoRA with biases inside"),
    (("lora_embedding_",), "a LoRA of peft on embeddings"),
    (("lora_controlnet",), "a Control-LoRA, which is a ControlNet"),
    (("lllite_",), "a ControlNet-LLLite"),
)
_COMPONENTS = (
    ("lora_unet_", UNET),
    ("lycoris_", UNET),
    ("lora_te1_", TEXT),
    ("lora_te2_", TEXT_2),
    ("base_model.model.unet.", UNET),
    ("unet.base_model.model.", UNET),
    ("unet.", UNET),
    ("text_encoder.", TEXT),
    ("text_encoder_2.", TEXT_2),
    ("base_model.model.text_model.", TEXT),
    ("base_model.model.", UNET),
    ("diffusion_model.", UNET),
    ("text_encoders.clip_l.transformer.", TEXT),
    ("text_encoders.clip_g.transformer.", TEXT_2),
)
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,200}")  # names reach messages, so they hold letters and digits only
_UNET_STARTS = (
    *("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "conv_norm_out", "time_embedding"),
    *("add_embedding", "input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb", "out"),
)
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out_0": "out_proj"}  # diffusers before 0.18
# what a file may hold beside its layers, and why it is of no use here
_LEFT_OUT = (
    (re.compile(r"bundle_emb\."), "the textual inversion embeddings bundled with it"),
    (re.compile(r"emb_params\Z"), "the textual inversion embedding bundled with it"),
    (
        re.compile(r"(text_encoders\.clip_l\.transformer\.|lora_te1_)text_projection\."),
        "the first text encoder's projection, which SDXL does not use",
    ),
)


class KeyName(NamedTuple):
    """What a key of a LoRA file names: a part (`up`, `down`, `alpha`, `lokr_w1`, ...) of a component's flat layer."""

    component: str
    flat: str
    part: str


def other_kind(key: str) -> str | None:
    """Return the kind of adapter a key belongs to when it cannot be used, in words; None for all others."""
    return next((kind for marks, kind in _OTHER_KINDS if any(mark in key for mark in marks)), None)


def left_out(key: str) -> str | None:
    """Return what a key is that may stand in a file but is not used, in words; None for all others."""
    return next((what for pattern, what in _LEFT_OUT if pattern.match(key)), None)


def parse_key(key: str) -> KeyName | None:
    """Return what a key names, or None when it is in none of the spellings above."""
    found, part = _NAMED_ENDING.search(key), ""
    if found:
        part = found[1]
    else:
        found, part = next(((m, part) for ending, part in _ENDINGS if (m := ending.search(key))), (None, ""))
    if found is None:
        return None
    named = layer_of(key[: found.start()])
    return named and KeyName(*named, part)


def layer_of(name: str) -> tuple[str, str] | None:
    """Return (component, flat name) of the layer a key begins with, or None for a name of no SDXL layer."""
    prefix, component = next((pair for pair in _COMPONENTS if name.startswith(pair[0])), ("", UNET))
    flat = _flat(name.removeprefix(prefix))
    if component == UNET and not flat.startswith(_UNET_STARTS):
        return None
    if component != UNET:
        flat = flat.removeprefix("text_model_")
        old = re.fullmatch(r"(.*_self_attn_)(to_[qkv]|to_out_0)", flat)
        flat = old[1] + _OLD_TEXT[old[2]] if old else flat
    return (component, flat) if _PLAIN.fullmatch(flat) else None


def _flat(name: str) -> str:
    name = name.replace(".processor.", ".")  # diffusers before 0.20
    if name.endswith(".to_out"):
        name += ".0"
    return name.replace(".", "_")


def original_paths(paths: Iterable[str]) -> dict[str, str]:
    """diffusers module path -> path in SDXL's original layout, for a UNet's modules that have weights.

    Empty for a UNet with parts that the original does not have.
    """
    paths = list(paths)
    try:
        sources = unet_sources(f"{path}.weight" for path in paths)
    except KeyError:
        return {}
    return {p: sources[f"{p}.weight"].name.removeprefix(PREFIX).removesuffix(".weight") for p in paths}


def spellings(component: str, paths: Iterable[str]) -> dict[str, str]:
    """flat name -> module path, for every way a LoRA file may spell a component's modules."""
    paths = list(paths)
    if component != UNET:  # transformers 5 has no `text_model.` before the paths of CLIPTextModel, 4 does
        return {p.removeprefix("text_model.").replace(".", "_"): p for p in paths}
    flat = {original.replace(".", "_"): p for p, original in original_paths(paths).items()}
    return flat | {p.replace(".", "_"): p for p in paths}


_KOHYA = {UNET: "lora_unet_", TEXT: "lora_te1_", TEXT_2: "lora_te2_"}
_HOST_TEXT = {TEXT: "text_encoders.clip_l.transformer.", TEXT_2: "text_encoders.clip_g.transformer."}
_KOHYA_TEXT = ("_proj", ".fc1", ".fc2", "text_projection")
_SIZE_EMBEDDING = {f"add_embedding.linear_{i}": f"label_emb.0.{2 * i - 2}" for i in (1, 2)}


def kohya_name(component: str, path: str) -> str:
    """Return the kohya name of a module: what every host loads, text encoders with their `text_model_`.

    Two exceptions: diffusers knows SDXL's size embedding by its original name only, and ComfyUI a text
    encoder's norms and embeddings by its own name only.
    """
    if component == UNET:
        return _KOHYA[UNET] + _SIZE_EMBEDDING.get(path, path).replace(".", "_")
    if not path.startswith(("text_model.", "text_projection")):
        path = f"text_model.{path}"
    if not path.endswith(_KOHYA_TEXT):
        return _HOST_TEXT[component] + path
    return _KOHYA[component] + path.replace(".", "_")

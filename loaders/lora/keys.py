"""Names in LoRA files. Pure functions: text in, text out.

Five spellings are met for one layer, here the query of the first SDXL attention:

    kohya              lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight
    kohya, SDXL's own  lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight
    diffusers          unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
    peft               base_model.model.down_blocks.1.attentions.0. ... .attn1.to_q.lora_A.default.weight
    ComfyUI            diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_A.weight

Kohya writes every dot as an underscore, which cannot be undone without the model. So a layer's name
is kept *flat*, with underscores, and the model's own module paths are flattened to look it up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..layout.architectures import UNET as PREFIX
from ..layout.original import unet_sources

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"

# ending of a key -> which part of a layer it is
_ENDINGS = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"\.lora_up\.weight\Z", "up"),
        (r"\.lora_down\.weight\Z", "down"),
        (r"\.lora_mid\.weight\Z", "mid"),
        (r"\.lora_B(\.[A-Za-z0-9_-]+)?\.weight\Z", "up"),
        (r"\.lora_A(\.[A-Za-z0-9_-]+)?\.weight\Z", "down"),
        (r"[._]lora(_linear_layer)?\.up\.weight\Z", "up"),
        (r"[._]lora(_linear_layer)?\.down\.weight\Z", "down"),
        (r"\.alpha\Z", "alpha"),
    )
)
# what a piece of a key says about a kind of file that is no plain LoRA
_OTHER_KINDS = (
    (("dora_scale", "lora_magnitude_vector"), "a DoRA (weight-decomposed LoRA)"),
    (("hada_w", "hada_t"), "a LoHa (LyCORIS)"),
    (("lokr_w", "lokr_t"), "a LoKr (LyCORIS)"),
    (("oft_blocks", "oft_diag", "oft_R", "boft_"), "an OFT (LyCORIS)"),
    ((".a1.weight", ".b1.weight"), "a GLoRA (LyCORIS)"),
    ((".on_input",), "an (IA)^3 (LyCORIS)"),
    (("lora_A.bias", "lora_B.bias", "lora_up.bias", "lora_down.bias"), "a LoRA with biases"),
    ((".diff_b", ".diff", ".w_norm", ".b_norm", ".set_weight"), "a file with whole weights or norms beside its LoRA"),
)
_COMPONENTS = (
    ("lora_unet_", UNET),
    ("lora_te1_", TEXT),
    ("lora_te2_", TEXT_2),
    ("base_model.model.unet.", UNET),
    ("unet.base_model.model.", UNET),
    ("unet.", UNET),
    ("text_encoder.", TEXT),
    ("text_encoder_2.", TEXT_2),
    ("base_model.model.", UNET),
    ("diffusion_model.", UNET),
)
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,200}")  # names reach messages, so they hold letters and digits only
_UNET_STARTS = (
    *("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding", "add_embedding"),
    *("input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb", "out"),
)


class KeyName(NamedTuple):
    """What a key of a LoRA file names: a part (`up`, `down`, `mid`, `alpha`) of a component's flat layer."""

    component: str
    flat: str
    part: str


def other_kind(key: str) -> str | None:
    """The kind of adapter a key belongs to when it is no plain LoRA, in words; None for all others."""
    for marks, kind in _OTHER_KINDS:
        if any(key.endswith(m) if m.startswith(".") else m in key for m in marks):
            return kind
    return None


def parse_key(key: str) -> KeyName | None:
    """What a key names, or None when it is in none of the five spellings."""
    for ending, part in _ENDINGS:
        found = ending.search(key)
        if found:
            named = _component(key[: found.start()])
            return named and KeyName(*named, part)
    return None


def _component(name: str) -> tuple[str, str] | None:
    prefix, component = next((pair for pair in _COMPONENTS if name.startswith(pair[0])), ("", UNET))
    flat = _flat(name.removeprefix(prefix))
    if component == UNET and not flat.startswith(_UNET_STARTS):
        return None
    if component != UNET:
        flat = flat.removeprefix("text_model_")
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


def kohya_name(component: str, path: str) -> str:
    """The kohya name of a module: what every host loads, text encoders with their `text_model_`."""
    flat = path.replace(".", "_")
    if component != UNET and not flat.startswith(("text_model_", "text_projection")):
        flat = f"text_model_{flat}"
    return _KOHYA[component] + flat

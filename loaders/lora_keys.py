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

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"

# ending of a key -> which part of a layer it is
_ENDINGS = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"\.lora_up\.weight$", "up"),
        (r"\.lora_down\.weight$", "down"),
        (r"\.lora_mid\.weight$", "mid"),
        (r"\.lora_B(\.[A-Za-z0-9_-]+)?\.weight$", "up"),
        (r"\.lora_A(\.[A-Za-z0-9_-]+)?\.weight$", "down"),
        (r"[._]lora(_linear_layer)?\.up\.weight$", "up"),
        (r"[._]lora(_linear_layer)?\.down\.weight$", "down"),
        (r"\.alpha$", "alpha"),
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
    return (component, flat) if flat else None


def _flat(name: str) -> str:
    name = name.replace(".processor.", ".")  # diffusers before 0.20
    if name.endswith(".to_out"):
        name += ".0"
    return name.replace(".", "_")


_RESNET = (
    *(("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1")),
    *(("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")),
)
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$")
_MID = re.compile(r"mid_block\.(resnets\.0|resnets\.1|attentions\.0)\.(.+)$")


def ldm_paths(paths: Iterable[str]) -> dict[str, str]:
    """diffusers module path -> SDXL's original module path, for a UNet's modules.

    Source: the block order of `UNetModel` in Stability-AI/generative-models (openaimodel.py): one flat
    list of input blocks, `layers` residual blocks and a downsampler to a level, and its mirror image.
    Paths that have no place in it are left out.
    """
    paths = list(paths)
    layers = len({m[1] for p in paths if (m := re.match(r"down_blocks\.0\.resnets\.(\d+)", p))})
    attended = {m[1] for p in paths if (m := re.match(r"up_blocks\.(\d+)\.attentions\.", p))}
    found = {p: _ldm_path(p, layers, attended) for p in paths}
    return {p: q for p, q in found.items() if q is not None}


def _ldm_path(path: str, layers: int, attended: set[str]) -> str | None:
    if path in _ENDS:
        return _ENDS[path]
    if middle := _MID.match(path):
        return f"middle_block.{_MIDDLE[middle[1]]}.{_inner(middle[2])}"
    if not (block := _BLOCK.match(path)):
        return None
    side, level, kind, index, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
    if kind == "upsamplers":
        place = 2 if block[2] in attended else 1
        return f"output_blocks.{level * (layers + 1) + layers}.{place}.conv"
    number = level * (layers + 1) + index + (side == "down")
    return f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}.{_inner(rest)}"


def _inner(path: str) -> str:
    return dict(_RESNET).get(path, path)


def spellings(component: str, paths: Iterable[str]) -> dict[str, str]:
    """flat name -> module path, for every way a LoRA file may spell a component's modules."""
    paths = list(paths)
    if component != UNET:  # transformers 5 has no `text_model.` before the paths of CLIPTextModel, 4 does
        return {p.removeprefix("text_model.").replace(".", "_"): p for p in paths}
    flat = {original.replace(".", "_"): p for p, original in ldm_paths(paths).items()}
    return flat | {p.replace(".", "_"): p for p in paths}


_KOHYA = {UNET: "lora_unet_", TEXT: "lora_te1_", TEXT_2: "lora_te2_"}


def kohya_name(component: str, path: str) -> str:
    """The kohya name of a module: what every host loads, text encoders with their `text_model_`."""
    flat = path.replace(".", "_")
    if component != UNET and not flat.startswith(("text_model_", "text_projection")):
        flat = f"text_model_{flat}"
    return _KOHYA[component] + flat

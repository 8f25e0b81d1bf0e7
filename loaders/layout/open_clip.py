"""OpenCLIP's names for the tensors of transformers' CLIP, in both directions, from one table.

SDXL's second text encoder is looked up by module key (`open_clip_sources`), so that a single file is read one tensor at
a time and everything missing is found; a reward's whole state dict is renamed (`from_open_clip`). Attention is fused
in OpenCLIP, and projections are (in, out). Source: open_clip `transformer.py`, transformers CLIP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .original import Source

if TYPE_CHECKING:
    import torch

# transformers' name -> OpenCLIP's
_TEXT_ENDS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_VISION_ENDS = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_CLIP_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_ENDS = {theirs: ours for ours, theirs in (_TEXT_ENDS | _VISION_ENDS).items()}
_OWN_LAYER = {theirs: ours for ours, theirs in _LAYER.items()}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def open_clip_sources(keys: Iterable[str], prefix: str, *, projection: str) -> dict[str, Source]:
    """Return module key -> source, for OpenCLIP bigG, whose attention is fused.

    `projection` is the name that the file has: `text_projection` (in, out) is the original;
    `text_projection.weight` (out, in) is what diffusers' `convert_diffusers_to_original_sdxl.py` wrote
    at first; Playground v2's file fails in diffusers as such a file would (huggingface/diffusers#6183).
    Raises KeyError as `original.unet_sources`.
    """
    names = (k for k in keys if not k.endswith("position_ids"))
    return {key: _open_clip_source(key, prefix, projection) for key in names}


def _open_clip_source(key: str, prefix: str, projection: str) -> Source:
    if key == "text_projection.weight":
        return Source(prefix + projection, transposed=not projection.endswith(".weight"))
    whole = key if key.startswith("text_model.") else "text_model." + key
    if layer := _CLIP_LAYER.fullmatch(whole):
        index, name, end = layer.groups()
        place = f"{prefix}transformer.resblocks.{index}"
        if name in _QKV:
            return Source(f"{place}.attn.in_proj_{end}", third=_QKV.index(name))
        return Source(f"{place}.{_LAYER[name]}.{end}")
    return Source(prefix + _TEXT_ENDS[whole])


def from_open_clip(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return an OpenCLIP state dict under transformers' names; what has no name there keeps its own.

    `attn_mask` is a constant that old files keep, and left out.
    """
    renamed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if block := _BLOCK.fullmatch(key):
            tower = "vision_model" if block[1] else "text_model"
            place, name, end = f"{tower}.encoder.layers.{block[2]}", block[3], block[4]
            if name == "attn.in_proj":
                for part, third in zip(_QKV, value.chunk(3), strict=True):
                    renamed[f"{place}.{part}.{end}"] = third.contiguous()
            else:
                renamed[f"{place}.{_OWN_LAYER.get(name, name)}.{end}"] = value
        elif key in _TRANSPOSED:
            renamed[_TRANSPOSED[key]] = value.T.contiguous()
        elif key != "attn_mask":
            renamed[_ENDS.get(key, key)] = value
    return renamed

"""Where each tensor of a diffusers or transformers module is in a file of the original SDXL layout.

The original layout is that of Stability's generative-models ("sgm", from LDM): `model.diffusion_model.*`,
`first_stage_model.*` and `conditioner.embedders.*`. These are pure maps of names, from the module's to
the file's: a caller that walks them finds everything missing, and whatever they do not name is extra.
Source of both sets of names: the modules' own code (sgm `openaimodel.py`, LDM `model.py`, OpenCLIP
`transformer.py`; diffusers `UNet2DConditionModel`, `AutoencoderKL`; transformers CLIP).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .configs import UNET, VAE


class Source(NamedTuple):
    """Where a module's tensor comes from.

    Attributes:
        name: the tensor's name in the file.
        third: 0, 1 or 2 for the queries, keys or values in a fused tensor of all three; else None.
        transposed: the file has it as (in, out) and the module as (out, in).
        squeezed: the file has a 1x1 convolution (out, in, 1, 1) and the module a linear layer.
    """

    name: str
    third: int | None = None
    transposed: bool = False
    squeezed: bool = False


# --- the UNet ---------------------------------------------------------------------------------

_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def unet_sources(keys: Iterable[str]) -> dict[str, Source]:
    """Return module key -> source, for the keys of a `UNet2DConditionModel` with SDXL's kinds of blocks.

    Raises KeyError for a key that the original UNet has no name for.
    """
    keys = list(keys)
    layers = len({k.split(".")[3] for k in keys if k.startswith("down_blocks.0.resnets.")})
    attending = {int(k.split(".")[1]) for k in keys if re.match(r"up_blocks\.\d+\.attentions\.", k)}
    return {key: Source(UNET + _unet_name(key, layers, attending)) for key in keys}


def _unet_name(key: str, layers: int, attending: set[int]) -> str:
    """Original name of one UNet key.

    `layers` is the number of resnets of a level of the down blocks (the up blocks have one more);
    `attending` are the up blocks with attention, whose upsampler is the third part of its block and
    not the second.
    """
    if block := _BLOCK.fullmatch(key):
        way, level, kind, index, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
        if way == "down":
            # each level is `layers` blocks and its downsampler; block 0 is the first convolution
            number = 1 + level * (layers + 1) + (layers if kind == "downsamplers" else index)
            place = f"input_blocks.{number}"
        else:
            number = level * (layers + 1) + (layers if kind == "upsamplers" else index)
            place = f"output_blocks.{number}"
        if kind == "resnets":
            return f"{place}.0.{_resnet(rest, _UNET_RESNET)}"
        if kind == "attentions":
            return f"{place}.1.{rest}"
        if kind == "downsamplers":
            return f"{place}.0.op.{rest.removeprefix('conv.')}"
        return f"{place}.{2 if level in attending else 1}.{rest}"
    if middle := _MIDDLE.fullmatch(key):
        kind, index, rest = middle[1], int(middle[2]), middle[3]
        if kind == "resnets":
            return f"middle_block.{2 * index}.{_resnet(rest, _UNET_RESNET)}"
        return f"middle_block.{2 * index + 1}.{rest}"
    layer, end = key.rsplit(".", 1)
    return f"{_UNET_ENDS[layer]}.{end}"


def _resnet(rest: str, names: dict[str, str]) -> str:
    layer, end = rest.rsplit(".", 1)
    return f"{names[layer]}.{end}"


# --- the VAE ----------------------------------------------------------------------------------

_VAE_RESNET = {n: n for n in ("norm1", "conv1", "norm2", "conv2")} | {"conv_shortcut": "nin_shortcut"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_VAE_BLOCK = re.compile(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
_VAE_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def vae_sources(keys: Iterable[str]) -> dict[str, Source]:
    """Return module key -> source, for the keys of an `AutoencoderKL`. Raises KeyError as `unet_sources`.

    The original counts the decoder's levels from the picture, diffusers from the latent.
    """
    keys = list(keys)
    levels = len({k.split(".")[2] for k in keys if k.startswith("decoder.up_blocks.")})
    return {key: _vae_source(key, levels) for key in keys}


def _vae_source(key: str, levels: int) -> Source:
    if block := _VAE_BLOCK.fullmatch(key):
        half, way, level, kind, index, rest = block.groups()
        level = int(level) if way == "down" else levels - 1 - int(level)
        place = f"{VAE}{half}.{way}.{level}"
        if kind == "resnets":
            return Source(f"{place}.block.{index}.{_resnet(rest, _VAE_RESNET)}")
        return Source(f"{place}.{way}sample.{rest}")
    if middle := _VAE_MIDDLE.fullmatch(key):
        half, kind, index, rest = middle.groups()
        if kind == "resnets":
            return Source(f"{VAE}{half}.mid.block_{int(index) + 1}.{_resnet(rest, _VAE_RESNET)}")
        layer, end = rest.rsplit(".", 1)
        linear = layer != "group_norm" and end == "weight"
        return Source(f"{VAE}{half}.mid.attn_{int(index) + 1}.{_VAE_ATTENTION[layer]}.{end}", squeezed=linear)
    return Source(VAE + key.replace("conv_norm_out", "norm_out"))


# --- the first text encoder -----------------------------------------------------------------------


def clip_sources(keys: Iterable[str], prefix: str) -> dict[str, Source]:
    """Return module key -> source, for CLIP-L, which files store as transformers does.

    `prefix` ends before `embeddings.` and `encoder.`; module keys are with or without `text_model.`
    (transformers 4 and 5). `position_ids`, a count from 0, comes from no file.
    """
    names = (k for k in keys if not k.endswith("position_ids"))
    return {key: Source(prefix + key.removeprefix("text_model.")) for key in names}


# --- what else such files hold ----------------------------------------------------------------

_BLOCKS = re.compile(
    r"model\.diffusion_model\.|first_stage_model\.(?:encoder|decoder)\."
    r"|.+?\.(?:encoder\.layers|transformer\.resblocks)\."
)
_SCALED = re.compile(
    r"(?:.+\.)?(?:scaled_fp8|scale_weight|scale_input|weight_scale(?:_2)?|input_scale|comfy_quant)"
    r"|.+\.(?:absmax|quant_map|nested_absmax|quant_state\..+)"
)


def part_roots(names: Iterable[str]) -> tuple[str, ...]:
    """Return what the names of a file's parts begin with, from the names of their tensors.

    A tensor below one of these that no module asks for would change what that part computes. What is elsewhere
    belongs to no part, and the host and diffusers leave it too: noise tables, an averaged copy (`model_ema`), losses,
    the picture half of CLIP, counters, other text encoders.
    """
    return tuple(sorted({found[0] for name in names if (found := _BLOCKS.match(name))}))


def is_quantized(name: str) -> bool:
    """Whether a tensor scales others that are stored in 8 or 4 bits: without it those mean nothing."""
    return _SCALED.fullmatch(name) is not None

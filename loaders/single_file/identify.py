"""Naming what a safetensors file is, from the names and shapes in its header alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ...core.errors import ModelFileError
from ..formats.header import Header, read_header
from ..layout.configs import UNET, VAE, Shapes

MAX_TENSORS = 20_000  # SDXL with an averaged copy has 4,200

SDXL, REFINER = "SDXL", "SDXL refiner"
_UNKNOWN = "not a known model"
_LOADABLE = "Models of the SDXL architecture and unconditional ones (DDPM) can be loaded."


def read_model_header(path: Path) -> Header:
    """Read a file's header. Raises ModelFileError as `header.read_header`, and for more tensors than models have."""
    header = read_header(path)
    if len(header.shapes) > MAX_TENSORS:
        raise ModelFileError(f"{path.name} holds {len(header.shapes)} tensors: no model file does.")
    return header


def identify(path: Path) -> str:
    """Return what a safetensors file is, in words: "SDXL", "SDXL refiner", "a LoRA", "FLUX", "a VAE", ...

    Only the header is read. Raises ModelFileError as `read_model_header`.
    """
    return identify_shapes(read_model_header(path).shapes)


def identify_shapes(shapes: Shapes) -> str:
    """Return what a file with these tensors is; see `identify`."""
    return next((kind for kind, matches in _KINDS if matches(shapes)), _UNKNOWN)


def refusal(path: Path, kind: str) -> ModelFileError:
    """Return the error for a file that is no model this pack can load: what it is and where it belongs."""
    if kind == _UNKNOWN:
        return ModelFileError(f"{path.name} is not a known model: none of its tensors have known names. {_LOADABLE}")
    advice = next((text for start, text in _ADVICE if kind.startswith(start)), "")
    return ModelFileError(f"{path.name} is {kind}, not a model that can be loaded here{advice or '. ' + _LOADABLE}")


# --- the rules, the first that matches names the file -----------------------------------------

_Rule = Callable[[Shapes], bool]
_LORA = re.compile(
    r"\.lora_(up|down|A|B|mid)\b|\.lora\.(up|down)\.|\.lora_linear_layer\.|_lora\.(up|down)\.|lora_unet_|lora_te\d?_"
    r"|\.(hada|lokr)_w\d|\.oft_(blocks|diag)|\.(dora_scale|on_input)$"
)
_CONTEXT = re.compile(r"attn2\.to_k\.weight$")
_UNET_INPUT = UNET + "input_blocks.0.0.weight"
_EMBEDDINGS = ({"emb_params"}, {"clip_g", "clip_l"}, {"clip_l"}, {"clip_g"}, {"string_to_param.*"})


def _starts(*prefixes: str) -> _Rule:
    return lambda shapes: any(name.startswith(prefixes) for name in shapes)


def _has(*parts: str) -> _Rule:
    return lambda shapes: all(any(part in name for name in shapes) for part in parts)


def _side(shapes: Shapes, name: str, axis: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else 0


def _context(shapes: Shapes, prefix: str) -> int:
    """Width of the text that the first cross-attention below `prefix` reads; 0 without one."""
    first = next((n for n in shapes if n.startswith(prefix) and _CONTEXT.search(n)), "")
    return _side(shapes, first, 1)


def _is_sdxl_unet(shapes: Shapes) -> bool:
    """Original layout with size conditioning; SD 2 unCLIP has that too, and reads 1024-wide text."""
    sizes = UNET + "label_emb.0.0.weight" in shapes
    return sizes and UNET + "input_blocks.0.0.weight" in shapes and _context(shapes, UNET) != 1024


def _is_bare_unet(shapes: Shapes) -> bool:
    """Match the original layout of a UNet by itself, without the prefix it has in a checkpoint."""
    return "input_blocks.0.0.weight" in shapes and "out.2.weight" in shapes


def _is_bare_sdxl_unet(shapes: Shapes) -> bool:
    return _is_bare_unet(shapes) and _is_sdxl_unet({UNET + name: shape for name, shape in shapes.items()})


def _is_base(shapes: Shapes) -> bool:
    return _is_sdxl_unet(shapes) and _starts("conditioner.embedders.1.model.")(shapes)


def _is_refiner(shapes: Shapes) -> bool:
    return _is_sdxl_unet(shapes) and _starts("conditioner.embedders.0.model.")(shapes)


def _sdxl_reads(channels: int) -> _Rule:
    return lambda shapes: _is_sdxl_unet(shapes) and _side(shapes, _UNET_INPUT, 1) == channels


def _sd(width: int) -> _Rule:
    return lambda shapes: _UNET_INPUT in shapes and _context(shapes, UNET) == width


def _diffusers_unet(shapes: Shapes) -> bool:
    return "conv_in.weight" in shapes and _starts("down_blocks.0.")(shapes) and "conv_out.weight" in shapes


_KINDS: tuple[tuple[str, _Rule], ...] = (
    ("a LoRA", lambda shapes: any(_LORA.search(name) for name in shapes)),
    (
        "a ControlNet",
        lambda shapes: (
            _starts("control_model.", "controlnet_", "controlnet_cond_embedding.")(shapes)
            or _has("zero_convs.0.")(shapes)
            or "input_hint_block.0.weight" in shapes
            or "lora_controlnet" in shapes
        ),
    ),
    ("an IP-Adapter", _starts("ip_adapter.", "image_proj.")),
    ("an embedding", lambda shapes: set(shapes) in _EMBEDDINGS),
    ("Playground v2.5 (EDM)", lambda shapes: "edm_mean" in shapes and "edm_std" in shapes),
    ("an SDXL model with the EDM noise schedule (CosXL)", lambda shapes: "edm_vpred.sigma_max" in shapes),
    ("SD3", _has("joint_blocks.0.")),
    ("SD3", _has("transformer_blocks.0.attn.add_k_proj.", "pos_embed.proj.")),
    ("FLUX", _has("double_blocks.0.img_attn.")),
    ("FLUX", _starts("single_transformer_blocks.0.")),
    ("PixArt", _has("adaln_single.", "caption_projection.")),
    ("PixArt", _has("t_block.1.", "y_embedder.")),
    ("Stable Cascade", _has("clip_txt_mapper.")),
    ("an SDXL inpainting model", _sdxl_reads(9)),
    ("an SDXL InstructPix2Pix model", _sdxl_reads(8)),
    (SDXL, _is_base),
    (REFINER, _is_refiner),
    ("an SDXL UNet without the rest", _is_sdxl_unet),
    ("an SDXL UNet without the rest", _is_bare_sdxl_unet),
    ("a UNet without the rest", _is_bare_unet),
    ("SD 2", _sd(1024)),
    ("SD 1.5", _sd(768)),
    ("a reward model", lambda shapes: _starts("blip.")(shapes) and _starts("mlp.")(shapes)),
    ("a diffusers UNet without the rest", _diffusers_unet),
    ("a VAE", lambda shapes: _has("decoder.conv_in.weight", "decoder.conv_out.weight")(shapes)),
    ("a VAE", lambda shapes: bool(shapes) and all(name.startswith(VAE) for name in shapes)),
    ("a text encoder", _has("text_model.encoder.layers.0.")),
    ("a text encoder", _has("transformer.resblocks.0.", "token_embedding.weight")),
    ("a text encoder", _has("encoder.block.0.layer.0.SelfAttention.")),
    ("a text encoder", lambda shapes: _starts("encoder.layers.0.self_attn.", "encoder.layers.0.layer_norm1.")(shapes)),
)
_WHOLE = " Use the whole model: a folder in the diffusers layout, or a checkpoint file."
_ADVICE: tuple[tuple[str, str], ...] = (
    ("a LoRA", ": load it with Load Taste LoRA."),
    ("a reward model", ": load it with Load Reward."),
    ("an SDXL UNet without", "." + _WHOLE),
    ("a diffusers UNet", "." + _WHOLE),
    ("a UNet without", "." + _WHOLE),
    ("a VAE", "." + _WHOLE),
    ("a text encoder", "." + _WHOLE),
)

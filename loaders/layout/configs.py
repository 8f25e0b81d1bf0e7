"""What a single file does not say: configs of SDXL's parts, from the shapes of their tensors.

A checkpoint in the original layout has weights only. Widths, depths and context sizes are read from the
shapes; what no shape tells (64 channels a head, 32 groups, the noise schedule, the VAE's scale) is
SDXL's own, from the published configs of stabilityai/stable-diffusion-xl-base-1.0 and -refiner-1.0.
Files of full size give exactly those configs; small files of the same layout give small ones.

`Shapes` maps a tensor's original name to its shape, as `identify.read_header` returns them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import ModelFileError

Shapes = Mapping[str, tuple[int, ...]]

UNET, VAE = "model.diffusion_model.", "first_stage_model."
HEAD_CHANNELS = 64

SDXL_SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "interpolation_type": "linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "use_karras_sigmas": False,
    "clip_sample": False,
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "trained_betas": None,
}


def scheduler_config(*, prediction_type: str, zero_snr: bool = False, distilled: bool = False) -> dict[str, Any]:
    """Return SDXL's and the refiner's scheduler config. Playground v2 has the same noise schedule.

    Models trained up to pure noise (zero terminal SNR, Lin et al. 2023, arXiv 2305.08891) start at the last timestep,
    as there (sec. 3.3) and in ComfyUI; leading spacing would leave it out. So do those distilled to few steps
    (sdxl-turbo's scheduler_config.json; the model cards of SDXL-Lightning, Hyper-SD and DMD2).
    """
    config = SDXL_SCHEDULER | {"prediction_type": prediction_type}
    if zero_snr or distilled:
        config |= {"timestep_spacing": "trailing"}
    return config | {"rescale_betas_zero_snr": True} if zero_snr else config


def _size(shapes: Shapes, name: str, axis: int) -> int:
    """Return one dimension of a tensor. Raises ModelFileError when it is not there or has too few dimensions."""
    if name not in shapes:
        raise ModelFileError(f"It holds no {name}.")
    if axis >= len(shapes[name]) or shapes[name][axis] < 1:
        raise ModelFileError(f"{name} has the shape {tuple(shapes[name])}, which no such layer has.")
    return shapes[name][axis]


def _count(shapes: Shapes, pattern: str) -> int:
    """How many of `pattern.format(0)`, `pattern.format(1)`, ... are there, up to the first that is not."""
    found = 0
    while pattern.format(found) in shapes:
        found += 1
    return found


def unet_config(shapes: Shapes, *, pooled: int, size_numbers: int) -> dict[str, Any]:
    """Return the config of `UNet2DConditionModel` for `model.diffusion_model.*`.

    `pooled` is the width of the pooled text, `size_numbers` how many numbers of size conditioning
    there are. Raises ModelFileError naming a tensor that is missing or not as SDXL has it.
    """
    levels = _levels(shapes)
    widths, depths, layers = [w for w, _, _ in levels], [d for _, d, _ in levels], [n for _, _, n in levels]
    if len(set(layers)) > 1:
        raise ModelFileError(f"Its UNet has {layers} layers at its levels; SDXL has the same number at each.")
    middle = _count(shapes, UNET + "middle_block.1.transformer_blocks.{}.norm1.weight")
    depths_given = [d for d in depths if d] + [middle]
    # at levels without attention the number means nothing, but diffusers takes the middle's from the last
    per_level = [d or 1 for d in depths[:-1]] + [depths[-1] or middle]
    added = _size(shapes, UNET + "label_emb.0.0.weight", 1)
    config = {
        "sample_size": 128,
        "in_channels": _size(shapes, UNET + "input_blocks.0.0.weight", 1),
        "out_channels": _size(shapes, UNET + "out.2.weight", 0),
        "down_block_types": ["CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if d else "UpBlock2D" for d in reversed(depths)],
        "block_out_channels": widths,
        "layers_per_block": layers[0],
        "transformer_layers_per_block": middle if len(set(depths_given)) == 1 else per_level,
        "attention_head_dim": [max(1, w // HEAD_CHANNELS) for w in widths],
        "cross_attention_dim": _size(shapes, _first_attention(shapes), 1),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": _size_width(added, pooled, size_numbers),
        "projection_class_embeddings_input_dim": added,
    }
    # SSD-1B and Segmind Vega: layers taken out of the up blocks, and attention out of the middle
    depths_up = _depths_up(shapes, len(levels), layers[0])
    if depths_up != [[depth] * (layers[0] + 1) for depth in reversed(depths)]:
        config["transformer_layers_per_block"] = per_level
        config["reverse_transformer_layers_per_block"] = [depth if any(depth) else 1 for depth in depths_up]
    if not middle:
        config["mid_block_type"] = "UNetMidBlock2D"
    return config


def _first_attention(shapes: Shapes) -> str:
    """Return the first cross-attention's keys, whose inputs are as wide as the text."""
    found = [n for n in shapes if n.startswith(UNET) and n.endswith(".transformer_blocks.0.attn2.to_k.weight")]
    return min(found, default=f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight")


def _depths_up(shapes: Shapes, levels: int, layers: int) -> list[list[int]]:
    """Return the transformer depth of each layer of each level of the UNet's up blocks, which have one layer more."""
    block = UNET + "output_blocks.{}.1.transformer_blocks.{{}}.norm1.weight"
    each = range(layers + 1)
    return [[_count(shapes, block.format(level * (layers + 1) + i)) for i in each] for level in range(levels)]


def _size_width(added: int, pooled: int, size_numbers: int) -> int:
    width, rest = divmod(added - pooled, size_numbers)
    if width < 1 or rest:
        raise ModelFileError(
            f"Its UNet reads {added} added numbers, which are not {pooled} of pooled text and {size_numbers} sizes."
        )
    return width


def _levels(shapes: Shapes) -> list[tuple[int, int, int]]:
    """(width, transformer depth, layers) of each level of the UNet's down blocks.

    `input_blocks` are numbered through: conv, then for each level its layers and a downsampler.
    """
    levels, width, depth, layers, block = [], 0, 0, 0, 1
    while True:
        here = f"{UNET}input_blocks.{block}."
        if f"{here}0.in_layers.0.weight" in shapes:
            width = _size(shapes, here + "0.out_layers.3.weight", 0)
            depth = _count(shapes, here + "1.transformer_blocks.{}.norm1.weight")
            layers += 1
        else:
            levels.append((width, depth, layers))
            if f"{here}0.op.weight" not in shapes:
                break
            layers = 0
        block += 1
    if not all(layers for _, _, layers in levels):
        raise ModelFileError(f"Its UNet has no layers at {UNET}input_blocks.{block}.")
    return levels


def vae_config(shapes: Shapes, scaling_factor: float | None) -> dict[str, Any]:
    """Return the config of `AutoencoderKL` for `first_stage_model.*`. Raises ModelFileError.

    `force_upcast` is true: the original VAE overflows float16, and no file says which VAE it has.
    """
    levels = _count(shapes, VAE + "encoder.down.{}.block.0.conv1.weight")
    if not levels:
        raise ModelFileError("It holds no VAE (first_stage_model.encoder). Use a file with its VAE baked in.")
    widths = [_size(shapes, f"{VAE}encoder.down.{i}.block.0.conv1.weight", 0) for i in range(levels)]
    return {
        "sample_size": 1024,
        "in_channels": _size(shapes, VAE + "encoder.conv_in.weight", 1),
        "out_channels": _size(shapes, VAE + "decoder.conv_out.weight", 0),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, VAE + "encoder.down.0.block.{}.conv1.weight"),
        "latent_channels": _size(shapes, VAE + "decoder.conv_in.weight", 1),
        "norm_num_groups": 32,
        "scaling_factor": scaling_factor,
        "force_upcast": True,
    }


def clip_l_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """Return the config of `CLIPTextModel` for CLIP ViT-L/14 as transformers names it. Raises ModelFileError.

    `prefix` ends before `embeddings.` and `encoder.`.
    """
    width = _size(shapes, prefix + "embeddings.token_embedding.weight", 1)
    layer = prefix + "encoder.layers.{}.layer_norm1.weight"
    return _clip_config(
        width=width,
        intermediate=_size(shapes, prefix + "encoder.layers.0.mlp.fc1.weight", 0),
        layers=_count(shapes, layer),
        positions=_size(shapes, prefix + "embeddings.position_embedding.weight", 0),
        vocabulary=_size(shapes, prefix + "embeddings.token_embedding.weight", 0),
        projection=width,
        activation="quick_gelu",
    )


def clip_g_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """Return the config of `CLIPTextModelWithProjection` for OpenCLIP ViT-bigG/14. Raises ModelFileError."""
    projection, axis = (prefix + "text_projection", 1)
    if projection not in shapes:  # the form with a `.weight` is transposed
        projection, axis = (prefix + "text_projection.weight", 0)
    return _clip_config(
        width=_size(shapes, prefix + "token_embedding.weight", 1),
        intermediate=_size(shapes, prefix + "transformer.resblocks.0.mlp.c_fc.weight", 0),
        layers=_count(shapes, prefix + "transformer.resblocks.{}.ln_1.weight"),
        positions=_size(shapes, prefix + "positional_embedding", 0),
        vocabulary=_size(shapes, prefix + "token_embedding.weight", 0),
        projection=_size(shapes, projection, axis),
        activation="gelu",
    )


def _clip_config(
    *, width: int, intermediate: int, layers: int, positions: int, vocabulary: int, projection: int, activation: str
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_CHANNELS),
        "max_position_embeddings": positions,
        "vocab_size": vocabulary,
        "projection_dim": projection,
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 2,  # sic: transformers then pools at the highest token id, which is the end of text
        "pad_token_id": 1,
    }

"""SDXL and its refiner as published: configs, modules without weights, names in the original layout.

The configs are those of stabilityai/stable-diffusion-xl-base-1.0 and -refiner-1.0, as far as they differ
from the classes' defaults. They are written out here so that what the loader derives from shapes can be
compared with them.

    python -m scripts.full_size.official      compares our names and shapes with ComfyUI's own modules, as JSON
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tastemaker.loaders.layout.open_clip import open_clip_sources
from tastemaker.loaders.layout.original import Source, clip_sources, unet_sources, vae_sources

if TYPE_CHECKING:
    import torch

BASE_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
REFINER_UNET = BASE_UNET | {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [384, 768, 1536, 1536],
    "transformer_layers_per_block": 4,
    "attention_head_dim": [6, 12, 24, 24],
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}
VAE: dict[str, Any] = {
    "sample_size": 1024,
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}
CLIP_L: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
CLIP_G = CLIP_L | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
Modules = dict[str, "torch.nn.Module"]


def configs(*, refiner: bool = False) -> dict[str, dict[str, Any]]:
    """Component -> its published config."""
    if refiner:
        return {"unet": REFINER_UNET, "vae": VAE, "text_encoder_2": CLIP_G}
    return {"unet": BASE_UNET, "vae": VAE, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G}


def build(parts: dict[str, dict[str, Any]]) -> Modules:
    """Modules from their configs, on whatever device torch makes tensors on."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    make = {
        "unet": lambda config: UNet2DConditionModel(**config),
        "vae": lambda config: AutoencoderKL(**config),
        "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
        "text_encoder_2": lambda config: CLIPTextModelWithProjection(CLIPTextConfig(**config)),
    }
    return {name: make[name](config) for name, config in parts.items()}


def official_modules(*, refiner: bool = False) -> Modules:
    """Return the full-size modules on the meta device: names and shapes, no weights."""
    import torch

    with torch.device("meta"):
        return build(configs(refiner=refiner))


# --- module tensors to the original layout ----------------------------------------------------


def original_sources(modules: Modules) -> dict[str, tuple[str, str, Source]]:
    """'component:key' -> (component, key, its source in a file)."""
    keys = {name: list(module.state_dict()) for name, module in modules.items()}
    g = "conditioner.embedders.1.model." if "text_encoder" in modules else "conditioner.embedders.0.model."
    sources = {
        "unet": unet_sources(keys["unet"]),
        "vae": vae_sources(keys["vae"]),
        "text_encoder_2": open_clip_sources(keys["text_encoder_2"], g, projection="text_projection"),
    }
    if "text_encoder" in modules:
        prefix = "conditioner.embedders.0.transformer.text_model."
        sources["text_encoder"] = clip_sources(keys["text_encoder"], prefix)
    return {f"{part}:{k}": (part, k, s) for part in modules for k, s in sources[part].items()}


def original_groups(modules: Modules) -> dict[str, list[tuple[str, str, Source]]]:
    """Name in the file -> the module tensors that it is made of: one, or queries, keys and values."""
    groups: dict[str, list[tuple[str, str, Source]]] = {}
    for entry in original_sources(modules).values():
        groups.setdefault(entry[2].name, []).append(entry)
    return groups


def as_stored(tensors: list[torch.Tensor], source: Source) -> torch.Tensor:
    """Return module tensors as the original layout has them."""
    import torch

    if source.third is not None:
        return torch.cat(tensors)
    (tensor,) = tensors
    if source.transposed:
        return tensor.T.contiguous()
    return tensor[:, :, None, None] if source.squeezed else tensor


def original_state(modules: Modules) -> dict[str, torch.Tensor]:
    """Return the weights of such modules under their names in the original layout."""
    states = {name: module.state_dict() for name, module in modules.items()}
    state = {}
    for name, entries in original_groups(modules).items():
        ordered = sorted(entries, key=lambda entry: entry[2].third or 0)
        state[name] = as_stored([states[part][key] for part, key, _ in ordered], ordered[0][2])
    return state


# --- the host's own modules -------------------------------------------------------------------


def host_differences(*, refiner: bool = False) -> dict[str, Any]:
    """Return what ComfyUI takes a full-size file of ours for, and where its modules' names or shapes differ.

    The host builds its own UNet, VAE and text encoders (on the meta device) for the model that it
    detects; their names are compared with ours, both ways.
    """
    import comfy.model_detection
    import comfy.ops
    import torch
    from comfy.ldm.models.autoencoder import AutoencoderKL

    state = original_state(official_modules(refiner=refiner))
    config = comfy.model_detection.model_config_from_unet(state, "model.diffusion_model.")
    config.set_inference_dtype(torch.float32, None)
    unet = config.get_model(state, "model.diffusion_model.", device="meta").diffusion_model
    ours = {k: v for k, v in state.items() if k.startswith("model.diffusion_model.")}
    differences = _compare(ours, unet.state_dict(), "model.diffusion_model.")
    plain = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128}
    plain |= {"ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    with torch.device("meta"):
        vae = AutoencoderKL(ddconfig=plain, embed_dim=4)
    ours = {k: v for k, v in state.items() if k.startswith("first_stage_model.")}
    differences += _compare(ours, vae.state_dict(), "first_stage_model.")
    text = config.clip_target(state).clip(device="meta", dtype=torch.float32)
    ours = config.process_clip_state_dict({k: v for k, v in state.items() if k.startswith("conditioner.")})
    theirs = {k: v for k, v in text.state_dict().items() if "logit_scale" not in k}
    theirs.pop("clip_l.transformer.text_projection.weight", None)  # SDXL does not use it, files lack it
    differences += _compare(ours, theirs, "")
    return {"detected": type(config).__name__, "tensors": len(state), "differences": differences}


def _compare(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], prefix: str) -> list[str]:
    mine = {k.removeprefix(prefix): tuple(v.shape) for k, v in ours.items()}
    host = {k: tuple(v.shape) for k, v in theirs.items()}
    said = [f"{prefix}{k}: only ours" for k in sorted(mine.keys() - host.keys())]
    said += [f"{prefix}{k}: only the host's" for k in sorted(host.keys() - mine.keys())]
    return said + [f"{prefix}{k}: {mine[k]}, host {host[k]}" for k in mine.keys() & host.keys() if mine[k] != host[k]]


def main() -> None:
    from scripts.comfy.locate import find

    sys.path.insert(0, str(find()))
    from comfy.cli_args import args

    args.cpu = True
    found = {"base": host_differences(), "refiner": host_differences(refiner=True)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

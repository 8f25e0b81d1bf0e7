"""Run inside a process of its own: the bridge against the host's own classes, full size, on the meta device.

Prints one JSON object; `test_native.py` reads it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import torch

from scripts.comfy.inside import enter
from scripts.full_size.random_sdxl import fill_randomly, modules

CLIP_L_PROJECTION = "clip_l.transformer.text_projection.weight"  # which no SDXL has


def scheduler(**changes: Any) -> dict[str, Any]:
    from tastemaker.loaders.layout.configs import SDXL_SCHEDULER

    return SDXL_SCHEDULER | changes


def handle(parts: dict[str, torch.nn.Module]) -> Any:
    from tastemaker.loaders import DiffusionModel

    return DiffusionModel("full", "sdxl", parts, (), scheduler(), "f" * 16)


def odd_names(given: Any, loaded: Any) -> list[str]:
    """Names that only one side has, or that have other shapes."""
    odd = set(given) ^ set(loaded)
    return sorted(odd | {k for k in given if k in loaded and given[k].shape != loaded[k].shape})


def host_unet(state: dict[str, torch.Tensor]) -> Any:
    """The host's own SDXL of a state dict, built on the meta device."""
    import comfy.model_detection

    config = comfy.model_detection.model_config_from_unet(dict(state), "")
    config.set_inference_dtype(torch.float32, None)
    return config.get_model(state, "", device=torch.device("meta"))


def host_clip() -> Any:
    from comfy.sdxl_clip import SDXLClipModel

    return SDXLClipModel(device="meta", dtype=torch.float32)


def all_layers(model: Any) -> dict[tuple[str, str], Any]:
    """A rank-1 LoRA on every linear layer and convolution of UNet and text encoders."""
    from tastemaker.loaders.lora.layers import LoraLayer

    found = {}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        for path, module in model.modules[component].named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                shape = module.weight.shape
                up = torch.ones(shape[0], 1, *(1 for _ in shape[2:]))
                found[component, path] = LoraLayer(up, torch.ones(1, *shape[1:]), 1.0)
    return found


def all_differences(model: Any) -> dict[tuple[str, str], Any]:
    """A whole difference of every weight and bias of UNet and text encoders, norms and embeddings too, without data."""
    from tastemaker.loaders.lora.layers import FullLayer

    found = {}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        for path, module in model.modules[component].named_modules():
            own = module._parameters
            if own.get("weight") is not None:
                found[component, path] = FullLayer(own["weight"], bias=own.get("bias"))
    return found


def check_lora(model: Any, unet: Any, clip: Any) -> dict[str, Any]:
    """How many layers the host's own loader takes, and for how many different weights."""
    import comfy.lora

    from tastemaker.loaders import lora_state

    layers = all_layers(model)
    names = comfy.lora.model_lora_keys_clip(clip, comfy.lora.model_lora_keys_unet(unet, {}))
    taken = comfy.lora.load_lora(lora_state(layers), names)
    whole = comfy.lora.load_lora(lora_state(all_differences(model)), names)
    attention = [k for k in layers if k[0] == "unet" and (".attn" in k[1] or ".ff." in k[1] or ".proj_" in k[1])]
    return {"layers": len(layers), "taken": len(taken), "attention": len(attention), "whole": sorted(whole)}


def check_vae(model: Any) -> dict[str, Any]:
    """The host's VAE of a full-size one with random weights, against diffusers' own decoding and encoding."""
    from tastemaker.nodes.host import native as host_native

    vae = fill_randomly(modules(["vae"])["vae"], torch.float32)
    native = host_native.native_vae(vae.state_dict())
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        found = native.decode(latents)
        pixels = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
        mean = vae.encode(pixels.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mean
        moments = native.first_stage_model.encode(pixels.permute(0, 3, 1, 2) * 2 - 1)
    return {
        "decode": float((expected - found).abs().max()),
        "spread": float(expected.std()),
        "encode": float((mean - moments).abs().max() / mean.abs().max()),
    }


def refusals(model: Any) -> dict[str, str]:
    """What `check_native` says about models that differ from SDXL in one thing each; "" where it takes them."""
    from types import SimpleNamespace

    from tastemaker.loaders import InputError
    from tastemaker.loaders.layout.native import check_native

    def other(component: str, **changes: Any) -> dict[str, Any]:
        config = type(model.modules[component].config)(dict(model.modules[component].config) | changes)
        return {"modules": {**model.modules, component: SimpleNamespace(config=config)}}

    cases: dict[str, dict[str, Any]] = {
        "as it is": {},
        "v": {"scheduler_config": scheduler(prediction_type="v_prediction")},
        "v zsnr": {"scheduler_config": scheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)},
        "eps zsnr": {"scheduler_config": scheduler(rescale_betas_zero_snr=True)},
        "sample": {"scheduler_config": scheduler(prediction_type="sample")},
        "betas": {"scheduler_config": scheduler(beta_end=0.02)},
        "trained betas": {"scheduler_config": scheduler(trained_betas=[0.1, 0.2])},
        "linear": {"scheduler_config": scheduler(beta_schedule="linear")},
        "steps": {"scheduler_config": scheduler(num_train_timesteps=500)},
        "no betas": {"scheduler_config": {"_class_name": "DDIMScheduler"}},
        "scale": other("vae", scaling_factor=0.18215),
        "mean": other("vae", latents_mean=[0.0, 0.0, 0.0, 0.0]),
        "heads": other("unet", attention_head_dim=[10, 20, 20]),
        "small": other("unet", block_out_channels=[64, 128]),
        "refiner": {"architecture": "sdxl-refiner"},
        "ddpm": {"architecture": "ddpm"},
    }
    said = {}
    for name, changes in cases.items():
        try:
            check_native(replace(model, **changes))
            said[name] = ""
        except InputError as e:
            said[name] = str(e)
    return said


def main() -> None:
    enter()
    from comfy.model_sampling import V_PREDICTION
    from comfy.supported_models import SDXL

    from tastemaker.loaders.layout.native import text_state, unet_state

    model = handle(modules())
    state = unet_state(model.unet)
    unet, clip = host_unet(state), host_clip()
    marked = host_unet({**state, "v_pred": torch.empty(0), "ztsnr": torch.empty(0)})
    spare = {k: v for k, v in clip.clip_l.transformer.state_dict().items() if k != "text_projection.weight"}
    parameters = {k for k, v in unet.state_dict().items() if k.startswith("diffusion_model.")}
    parameters |= {k for k in clip.state_dict() if k.endswith((".weight", ".bias"))} - {CLIP_L_PROJECTION}
    answer = {
        "parameters": sorted(parameters),
        "known": isinstance(unet.model_config, SDXL),
        "tensors": len(state),
        "unet": odd_names(state, unet.diffusion_model.state_dict()),
        "text": odd_names(text_state(model.modules["text_encoder"]), spare),
        "text_2": odd_names(text_state(model.modules["text_encoder_2"]), clip.clip_g.transformer.state_dict()),
        "v": [isinstance(m.model_sampling, V_PREDICTION) for m in (unet, marked)],
        "zsnr": [bool(m.model_sampling.zsnr) for m in (unet, marked)],
        "lora": check_lora(model, unet, clip),
        "vae": check_vae(model),
        "refusals": refusals(model),
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()

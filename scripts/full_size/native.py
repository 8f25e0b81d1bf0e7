"""Check To Native on a full-size SDXL with random weights, by hand: `python -m scripts.full_size.native`.

Takes about 21 GiB of memory and some ten minutes on two CPU cores. Weights are bfloat16 on both sides and both
compute in float32, so that the figures measure the bridge and not the rounding.
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import sys
from typing import Any

import torch
from torch import nn

from ..comfy.inside import enter
from .random_sdxl import fill_randomly, modules

SIDE, PROMPT = 128, "a large red heart on a blue background"


def computing_in_float32(unet: nn.Module) -> nn.Module:
    """Linear layers and convolutions stay bfloat16 in memory and are widened while they run."""
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.float()
    unet.enable_layerwise_casting(torch.bfloat16, torch.float32, skip_modules_pattern=())
    return unet


def make_model() -> Any:
    from tastemaker.loaders import DiffusionModel
    from tastemaker.loaders.folder.tokenizer import shipped_tokenizers
    from tastemaker.loaders.layout.configs import SDXL_SCHEDULER

    parts = modules()
    for i, module in enumerate(parts.values()):
        fill_randomly(module, torch.bfloat16, seed=i)
    for name in ("vae", "text_encoder", "text_encoder_2"):
        parts[name].float()
    computing_in_float32(parts["unet"])
    return DiffusionModel("full-size", "sdxl", parts, shipped_tokenizers(), SDXL_SCHEDULER, "f" * 16)


def make_lora(model: Any) -> Any:
    """Rank 2 on every attention projection of the UNet and every layer of the text encoders."""
    from tastemaker.loaders.lora.layers import LoraLayer
    from tastemaker.loaders.lora.read import make_lora

    generator = torch.Generator().manual_seed(9)
    layers = {}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        for path, module in model.modules[component].named_modules():
            if isinstance(module, nn.Linear) and (component != "unet" or ".attn" in path):
                size = 0.3 * module.weight.shape[1] ** -0.5
                up = torch.randn(module.weight.shape[0], 2, generator=generator)
                down = torch.randn(2, module.weight.shape[1], generator=generator) * size
                flat = path.removeprefix("text_model.").replace(".", "_")
                layers[component, flat] = LoraLayer(up, down, 1.0)
    return make_lora("random", layers)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference over the standard deviation of the expected values."""
    return float((found.float() - expected.float()).abs().max() / expected.float().std())


@torch.no_grad()
def encode(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(context, pooled) of PROMPT by transformers, LoRAs included."""
    from tastemaker.loaders import applied_loras

    contexts, names = [], ("text_encoder", "text_encoder_2")
    with applied_loras(model, names):
        for tokenizer, name in zip(model.tokenizers, names, strict=True):
            ids = tokenizer([PROMPT], padding="max_length", max_length=77, return_tensors="pt").input_ids
            output = model.modules[name](ids, output_hidden_states=True)
            contexts.append(output.hidden_states[-2])
    return torch.cat(contexts, -1), output[0]


@torch.no_grad()
def predict(model: Any, x: torch.Tensor, t: int, context: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    from tastemaker.loaders import applied_loras

    sizes = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], dtype=torch.float32)
    added = {"text_embeds": pooled, "time_ids": sizes}
    with applied_loras(model, ("unet",)):
        return model.unet(x, t, context, added_cond_kwargs=added).sample


def host_step(native: Any, noise: torch.Tensor, context: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """One Euler step of the host's own sampler, from pure noise to the clean latents it foresees."""
    import comfy.sample

    sizes = {"width": SIDE, "height": SIDE, "target_width": SIDE, "target_height": SIDE, "crop_w": 0, "crop_h": 0}
    condition = [[context, {"pooled_output": pooled, **sizes}]]
    return comfy.sample.sample(
        native.model,
        noise,
        1,
        1.0,
        "euler",
        "normal",
        condition,
        condition,
        torch.zeros_like(noise),
        disable_pbar=True,
        seed=0,
    )


def compare(model: Any, native: Any) -> dict[str, float]:
    """Text encoders, one sampler step and its picture: the host's figures against diffusers'."""
    context, pooled = encode(model)
    with torch.no_grad():
        found, found_pooled = native.clip.encode_from_tokens(native.clip.tokenize(PROMPT), return_pooled=True)
    noise = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(3))
    sampling = native.model.get_model_object("model_sampling")
    sigma = float(sampling.sigma_max)
    t = float(sampling.timestep(torch.tensor(sigma)))
    x = noise * (1 + sigma**2) ** 0.5  # the host starts so at the highest noise
    output = predict(model, x / (1 + sigma**2) ** 0.5, t, context, pooled)
    velocity = model.scheduler_config["prediction_type"] == "v_prediction"
    clean = x / (1 + sigma**2) - output * sigma / (1 + sigma**2) ** 0.5 if velocity else x - sigma * output
    latents = host_step(native, noise, context, pooled) * model.latent_scale
    implied = (x - latents) / sigma  # the clean latents are a small difference of large numbers
    return {
        "context": error(found, context),
        "pooled": error(found_pooled, pooled),
        "network": error(implied, (x - clean) / sigma),
        "latents": error(latents, clean),
        "standard deviation of the network's output": float(output.std()),
    }


def report(name: str, values: dict[str, Any]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"{name}: {json.dumps(values)} (peak {peak:.1f} GiB)\n")
    sys.stdout.flush()


def main() -> None:
    from dataclasses import replace

    logging.basicConfig(level=logging.WARNING)
    enter()
    from comfy.cli_args import args

    args.bf16_unet = True
    from tastemaker.loaders import with_lora
    from tastemaker.nodes import host
    from tastemaker.nodes.native import to_native

    model = make_model()
    report("made", {"parameters": sum(p.numel() for m in model.modules.values() for p in m.parameters())})
    with host.loading():
        native = to_native(model)
        report("base", compare(model, native))
        changed = with_lora(model, make_lora(model), 0.8, 0.5)
        adapted = to_native(changed)
        patches = len(adapted.model.patches) + len(adapted.clip.patcher.patches)
        shared = adapted.model.model is native.model.model and adapted.clip.patcher.model is native.clip.patcher.model
        report("lora", {"layers": len(changed.loras[0].targets), "patches": patches, "weights shared": shared})
        report("lora", compare(changed, adapted))
        report("base again", compare(model, native))
        del adapted, native
        gc.collect()
        velocity = replace(model, scheduler_config={**model.scheduler_config, "prediction_type": "v_prediction"})
        report("v", compare(velocity, to_native(velocity)))


if __name__ == "__main__":
    main()

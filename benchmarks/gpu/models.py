"""The models that are measured: SDXL of full size with random weights, made where they are used."""

from __future__ import annotations

import torch

from scripts.full_size.official import official_modules
from tastemaker.loaders import DiffusionModel, load_diffusion_model
from tastemaker.loaders.formats.precision import vae_dtype
from tastemaker.loaders.layout import configs

from .rows import DEVICE, GPU, HALF

PROMPT = "a small yellow star at the top of a purple background"


@torch.no_grad()
def full_size(dtype: torch.dtype = HALF) -> DiffusionModel:
    """Make SDXL in its real sizes, in a second or two and without a disk; on a CPU it is tiny-sdxl.

    Weights are of size 0.7/sqrt(inputs), norms near one, so that float16 neither overflows nor vanishes.
    """
    tiny = load_diffusion_model("tiny-sdxl")
    if not GPU:
        return tiny
    torch.manual_seed(0)
    modules = official_modules()
    for name, module in modules.items():
        wanted = vae_dtype(dtype, module.config, DEVICE) if name == "vae" else dtype
        module.to(wanted).to_empty(device=DEVICE).requires_grad_(False).eval()
        for key, p in module.named_parameters():
            if p.ndim > 1:
                p.normal_(0.0, 0.7 * p[0].numel() ** -0.5)
            else:
                p.fill_(1.0 if "norm" in key and key.endswith("weight") else 0.0)
        for key, buffer in module.named_buffers():
            if key.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1], device=DEVICE).expand(buffer.shape))
    config = configs.scheduler_config(prediction_type="epsilon", zero_snr=False, distilled=False)
    return DiffusionModel("random SDXL", "sdxl", modules, tiny.tokenizers, config, "random", True)

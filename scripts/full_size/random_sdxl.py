"""Full-size SDXL modules with random weights that keep signals in range, for checks that compare computations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from scripts.full_size.official import official_modules

NAMES = ("unet", "vae", "text_encoder", "text_encoder_2")


def modules(names: Sequence[str] = NAMES) -> dict[str, nn.Module]:
    """Return the named components on the meta device, frozen and in eval mode."""
    found = official_modules()
    return {name: found[name].requires_grad_(False).eval() for name in names}


def fill_randomly(module: nn.Module, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """Give a meta module its weights: norms near one, others of size 1/sqrt(inputs). Repeats from a pool, so fast."""
    generator = torch.Generator().manual_seed(seed)
    module.to(dtype).to_empty(device="cpu")
    pool = torch.randn(1_000_003, generator=generator)  # prime, so that repeats fall elsewhere in every row
    for name, parameter in module.named_parameters():
        flat = parameter.data.view(-1)
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
        scale = fan_in**-0.5 if parameter.ndim > 1 else 0.1
        shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        for start in range(0, flat.numel(), len(pool)):
            part = flat[start : start + len(pool)]
            part.copy_(pool[: len(part)] * scale + shift)
        pool = pool.roll(int(torch.randint(1, len(pool), (1,), generator=generator)))
    for name, buffer in module.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return module

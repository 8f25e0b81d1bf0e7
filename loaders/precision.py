"""Which number format each part of a model is loaded in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def vae_dtype(dtype: torch.dtype, config: Mapping[str, Any], device: torch.device) -> torch.dtype:
    """The VAE's number format in a model that is loaded as `dtype` on `device`.

    SDXL's original VAE overflows float16 (black pictures); its config says so with `force_upcast`,
    which diffusers takes as true where it is absent. Such a VAE is loaded in bfloat16 where the
    device has it, else in float32, instead of being moved back and forth at each decode.
    """
    import torch

    if dtype != torch.float16 or not config.get("force_upcast", True):
        return dtype
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32

"""Which number format each part of a model is loaded in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16")  # what networks can be loaded in, by torch's names


def vae_dtype(dtype: torch.dtype, config: Mapping[str, Any], device: torch.device) -> torch.dtype:
    """Return the VAE's number format in a model that is loaded as `dtype` and computes on `device`.

    On a CPU it is float32: one decoding in half saves nothing against the steps before it, and costs up to 2 of 255
    levels (tiny-sdxl). On a GPU SDXL's original VAE overflows float16 (black pictures); its config says so with
    `force_upcast`, which diffusers takes as true where it is absent. Such a VAE is loaded in bfloat16 where the
    device has it, else in float32, instead of being moved back and forth at each decode.
    """
    import torch

    if device.type == "cpu":
        return torch.float32
    if dtype != torch.float16 or not config.get("force_upcast", True):
        return dtype
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float32


def native_bfloat16() -> bool:
    """Return whether the CPU multiplies in bfloat16 by itself. Where it is emulated, it is slower than float32.

    oneDNN's own answer says so on ARM; on x86 it counts emulation too.
    """
    import platform

    import torch

    if platform.machine().lower() in ("aarch64", "arm64"):
        ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    else:
        ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask and ask())

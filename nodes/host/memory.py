"""Where modules compute, by the host's own memory management, and in which number format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...core.memory import placed
from ...loaders.formats.precision import native_bfloat16

if TYPE_CHECKING:
    import torch
    from torch import nn

_PATCHER = "_tastemaker_patcher"


def _patcher(module: nn.Module) -> Any:
    """Return the host's handle for one module: what it can move and free.

    The host cannot handle a diffusers module itself (its `device` has no setter), so it sits in a
    plain holder. The handle is kept on the module, so that everybody who shares the module shares the
    handle, and both are forgotten together.
    """
    import comfy.model_management as memory
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    if _PATCHER not in module.__dict__:
        holder = nn.Module()
        holder.add_module("held", module)
        patcher = ModelPatcher(holder, memory.get_torch_device(), memory.unet_offload_device())
        module.__dict__[_PATCHER] = patcher
    return module.__dict__[_PATCHER]


@contextmanager
def in_use(modules: Iterable[nn.Module], working_bytes: int = 0) -> Iterator[None]:
    """Put modules where the host computes, for the length of a `with` block: the host's `Place`.

    `working_bytes` is what their work needs beside their weights; the host frees other models for it.
    Inside, `torch.inference_mode` is off: a module moved under it could never be trained.
    """
    import comfy.model_management as memory
    import torch

    with torch.inference_mode(False):
        patchers = [_patcher(module) for module in modules]
        if patchers:
            memory.load_models_gpu(patchers, memory_required=working_bytes, force_full_load=True)
        with placed([patcher.model.held for patcher in patchers], memory.get_torch_device()):
            yield


@contextmanager
def loading() -> Iterator[None]:
    """Leave the inference mode that the host runs nodes in: for code that makes modules."""
    import torch

    with torch.inference_mode(False):
        yield


def compute_device() -> torch.device:
    """Return the device on which the host computes."""
    import comfy.model_management as memory

    return memory.get_torch_device()


def device_gigabytes() -> float:
    """Return the whole memory of that device in GiB; 0 for a CPU."""
    import comfy.model_management as memory

    device = memory.get_torch_device()
    return 0.0 if device.type == "cpu" else memory.get_total_memory(device) / 2**30


def preferred_dtype(*, exact: bool = False) -> torch.dtype:
    """Return float16 where the host would use it, bfloat16 on a CPU that has instructions for it, else float32.

    `exact` asks for float32 on every CPU.
    """
    import comfy.model_management as memory
    import torch

    device = memory.get_torch_device()
    if memory.should_use_fp16(device):
        return torch.float16
    half = device.type == "cpu" and not exact and not getattr(memory, "FORCE_FP32", False) and native_bfloat16()
    return torch.bfloat16 if half else torch.float32

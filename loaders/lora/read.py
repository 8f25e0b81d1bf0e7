"""A LoRA from a file, or of layers at hand; checked either way before anything is done with it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import ModelFileError
from ..formats.tensors import all_finite
from .layers import Key, Layer, Lora, LoraLayer

if TYPE_CHECKING:
    import torch

MAX_RANK = 16_384  # no layer of SDXL is wider


def read_lora(path: str | Path) -> Lora:
    """Read a LoRA from a safetensors file: kohya's, LyCORIS', diffusers', peft's or ComfyUI's spelling.

    An absent alpha is the rank, unless peft's `adapter_config.json` beside the file has it. What the file
    holds beside its layers is named in `Lora.notes`. Raises ModelFileError for what is no LoRA for SDXL, for
    kinds of adapter that cannot be used, by name, and for keys that are not understood.
    """
    from .file import read_layers

    path = Path(path)
    return make_lora(path.stem, *read_layers(path))


def make_lora(name: str, layers: Mapping[Key, Layer], notes: tuple[str, ...] = ()) -> Lora:
    """Return a `Lora` of layers at hand; checks that each is of finite numbers whose shapes fit each other.

    Raises ModelFileError naming the layer and what is wrong with it.
    """
    digest = hashlib.sha256()
    for (component, flat), layer in sorted(layers.items(), key=lambda item: item[0]):
        _check_layer(layer, f"{name}: {component}.{flat}")
        kind = "" if isinstance(layer, LoraLayer) else type(layer).__name__
        digest.update(f"{component}.{flat}:{kind}{layer.settings}".encode())
        for part, tensor in layer.tensors().items():
            named = "" if part in LoraLayer.NAMES else f":{part}"
            digest.update(f"{named}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return Lora(name, digest.hexdigest()[:16], dict(layers), notes)


def _bytes(tensor: torch.Tensor) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _check_layer(layer: Layer, where: str) -> None:
    tensors = layer.tensors()
    for part, tensor in tensors.items():
        if not tensor.is_floating_point() or not 1 <= tensor.ndim <= 4 or 0 in tensor.shape:
            raise ModelFileError(f"{where} has a {part} of {tensor.dtype} {tuple(tensor.shape)}, which is no LoRA's.")
        if not all_finite(tensor):
            raise ModelFileError(f"{where} holds NaN or infinity in its {part} matrix. Download the LoRA again.")
    if layer.misfit:
        shapes = ", ".join(f"{part} {tuple(tensor.shape)}" for part, tensor in tensors.items())
        raise ModelFileError(f"The matrices of {where} do not fit each other ({shapes}).")
    alpha, rank = getattr(layer, "alpha", 0.0), getattr(layer, "rank", 1)
    if not math.isfinite(alpha):
        raise ModelFileError(f"{where} has the alpha {alpha}; it must be a finite number.")
    if rank > MAX_RANK:
        raise ModelFileError(f"{where} has the rank {rank:,}; no layer of SDXL is wider than {MAX_RANK:,}.")

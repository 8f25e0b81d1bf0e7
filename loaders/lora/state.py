"""LoRAs on their way out: as the state dict that other programs load, in kinds of which they compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .apply import merged_weight
from .keys import kohya_name
from .layers import FullLayer, Key, Layer

if TYPE_CHECKING:
    import torch

    from ..model import DiffusionModel


def lora_state(layers: Mapping[Key, Layer]) -> dict[str, torch.Tensor]:
    """Return layers by (component, module path) as a kohya state dict, the form every host loads whole.

    Kinds other than LoRA have LyCORIS' names in it. Each layer gets its own alpha. The tensors are contiguous
    copies, ready to be saved; ComfyUI's LORA_MODEL wire carries the same dictionary.
    """
    import torch

    state = {}
    for (component, path), layer in layers.items():
        name = kohya_name(component, path)
        for part, tensor in layer.saved().items():
            state[f"{name}.{part}"] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return state


def host_layers(model: DiffusionModel, index: int) -> dict[Key, Layer]:
    """Return the layers of `model.loras[index]` in kinds of which ComfyUI computes what is computed here.

    The other kinds become whole differences, as large as the weights, of the weight with the LoRAs before on it.
    """
    layers: dict[Key, Layer] = {}
    for (component, path), layer in model.loras[index].targets.items():
        if not layer.host_exact:
            weight = model.modules[component].get_submodule(path).weight
            before = [(a.strength_of(component), a.targets.get((component, path))) for a in model.loras[:index]]
            start = merged_weight(weight.detach().float(), [(s, other) for s, other in before if other is not None])
            layer = FullLayer((layer.applied(start, 1.0) - start).to(weight.dtype), bias=layer.bias)
        layers[component, path] = layer
    return layers

"""LoRA files made on the spot, in every spelling."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from tastemaker.loaders import DiffusionModel
from tastemaker.loaders.lora.layers import LoraLayer

Layers = dict[tuple[str, str], LoraLayer]


def random_layers(
    model: DiffusionModel, paths: Iterable[tuple[str, str]], *, rank: int = 3, alpha: float = 2.0, size: float = 0.1
) -> Layers:
    """A layer of random numbers for each (component, module path); ranks go up by one from layer to layer."""
    generator = torch.Generator().manual_seed(5)
    layers: Layers = {}
    for i, (component, path) in enumerate(paths):
        shape = tuple(model.modules[component].get_submodule(path).weight.shape)
        r = rank + i % 3
        up = torch.randn(shape[0], r, *(1 for _ in shape[2:]), generator=generator) * size
        down = torch.randn(r, *shape[1:], generator=generator) * size
        layers[component, path] = LoraLayer(up, down, alpha)
    return layers


def attention_paths(model: DiffusionModel) -> list[tuple[str, str]]:
    """Every attention projection of a UNet and of its text encoders: what most LoRAs change."""
    ends = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")
    return [
        (component, path)
        for component in ("unet", *model.text_encoders)
        for path, module in model.modules[component].named_modules()
        if isinstance(module, nn.Linear) and path.endswith(ends)
    ]


def dotted_state(layers: Layers, prefixes: dict[str, str], up: str = "lora_B", down: str = "lora_A") -> dict:
    """A state dict in a dotted spelling: `<prefix><path>.<up>.weight`, without alphas."""
    state = {}
    for (component, path), layer in layers.items():
        state[f"{prefixes[component]}{path}.{up}.weight"] = layer.up
        state[f"{prefixes[component]}{path}.{down}.weight"] = layer.down
    return state


def write(path: Path, state: dict, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata)
    return path


def by_hand(model: DiffusionModel, layers: Layers, strength: float) -> dict[tuple[str, str], torch.Tensor]:
    """The merged weights in float64, from the definition W + strength * alpha / rank * up @ down."""
    merged = {}
    for (component, path), layer in layers.items():
        weight = model.modules[component].get_submodule(path).weight.double()
        rank = layer.down.shape[0]
        change = torch.einsum("or,rx->ox", layer.up.double().flatten(1), layer.down.double().flatten(1))
        merged[component, path] = weight + strength * layer.alpha / rank * change.reshape(weight.shape)
    return merged

"""LoRAs: reading, using without a trace, writing. The kinds themselves are in `lora_layers` and `lora_kinds`.

A model handle only remembers its LoRAs; `applied_loras` puts adapted weights in place for the length of a
`with` block, and the very Parameters that were there back afterwards. Several LoRAs on one weight are
applied one after the other, in the order in which the handle got them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, ModelFileError, NonFiniteError
from ..formats.weights import all_finite
from .keys import UNET, kohya_name, spellings
from .layers import AppliedLora, FullLayer, Key, Layer, Lora, LoraLayer

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..model import DiffusionModel

__all__ = [
    "AppliedLora",
    "Lora",
    "LoraLayer",
    "applied_loras",
    "host_layers",
    "lora_state",
    "make_lora",
    "match",
    "merged_bytes",
    "read_lora",
    "with_lora",
]

MAX_STRENGTH = 20.0
MAX_RANK = 16_384  # no layer of SDXL is wider
_SHOWN = 5
_MERGED = "_tastemaker_merged"  # marks a Parameter that stands in for the model's own


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
    if not math.isfinite(getattr(layer, "alpha", 0.0)):
        raise ModelFileError(f"{where} has the alpha {layer.alpha}; it must be a finite number.")
    if getattr(layer, "rank", 1) > MAX_RANK:
        raise ModelFileError(f"{where} has the rank {layer.rank:,}; no layer of SDXL is wider than {MAX_RANK:,}.")


# --- on a model ---------------------------------------------------------------------------------


def match(lora: Lora, model: DiffusionModel) -> dict[Key, Layer]:
    """Find the model's module for every layer: (component, module path) to layer.

    Raises ModelFileError when a layer has no module in this model, two have the same one, or a shape
    does not fit: nothing of a LoRA is left out silently.
    """
    modules = {c: _changeable(module) for c, module in model.modules.items() if c != "vae"}
    names = {c: spellings(c, found) for c, found in modules.items()}
    paths = {(c, flat): names.get(c, {}).get(flat) for c, flat in lora.layers}
    unknown = sorted(f"{c}.{flat}" for (c, flat), path in paths.items() if path is None)
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise ModelFileError(
            f"{lora.name} was made for {_origin(lora)}: {len(unknown)} of its {len(lora.layers)} layers are not in "
            f"{model.name} ({', '.join(unknown[:_SHOWN])}{more}). Pick a LoRA made for {model.name}."
        )
    targets: dict[Key, Layer] = {}
    for (component, flat), layer in lora.layers.items():
        path = paths[component, flat]
        if (component, path) in targets:
            raise ModelFileError(f"{lora.name} names {component}.{path} twice, in two spellings.")
        _check_fit(layer, modules[component][path], f"{lora.name}: {component}.{path}", lora)
        targets[component, path] = layer
    return targets


def _changeable(module: nn.Module) -> dict[str, nn.Module]:
    """The modules a LoRA can change, by path: linear layers and convolutions, and with whole differences all others."""
    return {path: m for path, m in module.named_modules() if m._parameters.get("weight") is not None}


def _check_fit(layer: Layer, module: nn.Module, where: str, lora: Lora) -> None:
    shape = tuple(module.weight.shape)
    if not layer.fits(shape):
        found = tuple(layer.shape)
        magnitude = "" if layer.magnitude is None else f" with magnitudes of shape {tuple(layer.magnitude.shape)}"
        raise ModelFileError(
            f"{where} does not fit: it changes a weight of shape {found}{magnitude}, the model's is {shape}. "
            f"It was made for {_origin(lora)}."
        )
    if layer.bias is not None and ("bias" not in module._parameters or layer.bias.numel() != shape[0]):
        raise ModelFileError(
            f"{where} does not fit: it changes a bias of {layer.bias.numel()} numbers, and the model has "
            f"{shape[0] if 'bias' in module._parameters else 'none there'}. It was made for {_origin(lora)}."
        )


def _origin(lora: Lora) -> str:
    from .origin import origin_of_layers

    shapes = {flat: layer.shape for (component, flat), layer in lora.layers.items() if component == UNET}
    return origin_of_layers({flat: shape[1] for flat, shape in shapes.items() if len(shape) > 1}) or "another model"


def with_lora(
    model: DiffusionModel, lora: Lora, strength: float = 1.0, strength_text: float | None = None
) -> DiffusionModel:
    """A new handle that also uses `lora`; modules are shared and not touched. See `DiffusionModel.with_lora`."""
    strength_text = strength if strength_text is None else strength_text
    for name, value in (("strength", strength), ("strength_text", strength_text)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > MAX_STRENGTH:
            raise InputError(name, value, f"It must be a number from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}.")
    applied = AppliedLora(lora, float(strength), float(strength_text), match(lora, model))
    text = f"{model.fingerprint}:{lora.fingerprint}:{applied.strength!r}:{applied.strength_text!r}"
    return replace(
        model,
        loras=(*model.loras, applied),
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


def _changes(model: DiffusionModel, components: Sequence[str]) -> dict[Key, list[tuple[float, Layer]]]:
    """(component, module path) to the (strength, layer) pairs that change it; strength 0 changes nothing."""
    found: dict[Key, list[tuple[float, Layer]]] = {}
    for applied in model.loras:
        for (component, path), layer in applied.targets.items():
            strength = applied.strength_of(component)
            if component in components and strength:
                found.setdefault((component, path), []).append((strength, layer))
    return found


def merged_bytes(model: DiffusionModel, components: Sequence[str]) -> int:
    """Return the memory that `applied_loras` takes for its adapted weights and biases, in bytes."""
    total = 0
    for (component, path), changes in _changes(model, components).items():
        weight = model.modules[component].get_submodule(path).weight
        numbers = weight.numel() if any(layer.shape for _, layer in changes) else 0
        numbers += weight.shape[0] if any(layer.bias is not None for _, layer in changes) else 0
        total += numbers * weight.element_size()
    return total


@contextmanager
def applied_loras(model: DiffusionModel, components: Sequence[str]) -> Iterator[None]:
    """For the length of the block the named components run with the model's LoRAs on them.

    Computed in float32, then in each weight's own dtype, on its device: one rounding for all LoRAs together.
    Afterwards, whatever happened, the original Parameter objects are back, untouched. Components the model
    does not have are passed over, so that `("text_encoder", "text_encoder_2")` serves refiners too.

    Raises NonFiniteError when an adapted weight overflows, and RuntimeError when one of the modules
    already runs with LoRAs on it (a block inside another's).
    """
    import torch
    from torch import nn

    originals: list[tuple[nn.Module, str, nn.Parameter | None]] = []
    finite = []

    def stand_in(module: nn.Module, name: str, own: nn.Parameter | None, value: torch.Tensor) -> None:
        merged = nn.Parameter(value, requires_grad=own is not None and own.requires_grad)
        setattr(merged, _MERGED, True)
        finite.append(value.isfinite().all())
        originals.append((module, name, own))
        setattr(module, name, merged)

    try:
        for (component, path), changes in _changes(model, components).items():
            module = model.modules[component].get_submodule(path)
            weight, bias = _own(module, "weight", f"{component}.{path}"), module._parameters.get("bias")
            if any(layer.shape for _, layer in changes):
                stand_in(module, "weight", weight, merged_weight(weight, changes))
            if any(layer.bias is not None for _, layer in changes):
                stand_in(module, "bias", bias, merged_bias(weight, bias, changes))
        if finite and not torch.stack([flag.cpu() for flag in finite]).all():
            names = ", ".join(f"{a.lora.name} at {a.strength:g}" for a in model.loras)
            raise NonFiniteError(
                f"The LoRAs on {model.name} ({names}) make weights too large for {model.dtype}. Lower their strength, "
                "or load the model in float32."
            )
        yield
    finally:
        for module, name, own in reversed(originals):
            setattr(module, name, own)


def _own(module: nn.Module, name: str, where: str) -> nn.Parameter:
    own = module._parameters.get(name)
    if own is None:
        raise RuntimeError(f"{where} is wrapped by something else; LoRAs are merged into plain layers.")
    if any(getattr(p, _MERGED, False) for p in module._parameters.values()):
        raise RuntimeError(f"{where} already runs with LoRAs merged in; a model cannot be used inside its own use.")
    return own


def merged_weight(weight: torch.Tensor, changes: Sequence[tuple[float, Layer]]) -> torch.Tensor:
    """Return the weight with every (strength, layer) on it, computed in float32, in the weight's dtype; a new tensor.

    Shape: weight (out, in[, kH, kW]) to the same.
    """
    total = weight.detach().float()
    for strength, layer in changes:
        total = layer.applied(total, strength)
    return total.to(weight.dtype)


def merged_bias(
    weight: torch.Tensor, bias: torch.Tensor | None, changes: Sequence[tuple[float, Layer]]
) -> torch.Tensor:
    """Return the bias (out,) with every (strength, layer) on it, as `merged_weight`; a layer without one has zeros."""
    import torch

    start = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device) if bias is None else bias.detach()
    total = start.float()
    for strength, layer in changes:
        if layer.bias is not None:
            total = total.add(layer.bias.to(total.device, torch.float32).flatten(), alpha=strength)
    return total.to(start.dtype)


# --- writing ------------------------------------------------------------------------------------


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


def read_lora(path: str | Path) -> Lora:
    """Read a LoRA from a safetensors file: kohya's, LyCORIS', diffusers', peft's or ComfyUI's spelling.

    An absent alpha is the rank, unless peft's `adapter_config.json` beside the file has it. What the file
    holds beside its layers is named in `Lora.notes`. Raises ModelFileError for what is no LoRA for SDXL, for
    kinds of adapter that cannot be used, by name, and for keys that are not understood.
    """
    from .file import read_layers

    path = Path(path)
    return make_lora(path.stem, *read_layers(path))

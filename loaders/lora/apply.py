"""LoRAs on a model: which module each layer changes, and its adapted weight for as long as it is in use.

A model handle only remembers its LoRAs; `applied_loras` puts adapted weights in place for the length of a
`with` block, and the very Parameters that were there back afterwards. Several LoRAs on one weight are
applied one after the other, in the order in which the handle got them.

Not peft, which wraps modules: here handles share theirs, and one of them with a LoRA must change none of the others.
Putting 56 layers on tiny-sdxl and taking them off again costs 7 ms, a step of its UNet 24 (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core.errors import InputError, ModelFileError, NonFiniteError
from ...core.texts import some
from .keys import UNET, spellings
from .layers import AppliedLora, Key, Layer, Lora
from .origin import origin_of_layers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..model import DiffusionModel

MAX_STRENGTH = 20.0
_MERGED = "_tastemaker_merged"  # marks a Parameter that stands in for the model's own


def match(lora: Lora, model: DiffusionModel) -> dict[Key, Layer]:
    """Find the model's module for every layer: (component, module path) to layer.

    Raises ModelFileError when a layer has no module in this model, two have the same one, or a shape
    does not fit: nothing of a LoRA is left out silently.
    """
    modules = {c: _changeable(model.modules[c]) for c in model.spec.lora_components}
    names = {c: spellings(c, found) for c, found in modules.items()}
    unknown = [f"{c}.{flat}" for c, flat in lora.layers if flat not in names.get(c, {})]
    if unknown:
        raise ModelFileError(
            f"{lora.name} was made for {_origin(lora)}: {len(unknown)} of its {len(lora.layers)} layers are not in "
            f"{model.name} ({some(unknown)}). Pick a LoRA made for {model.name}."
        )
    targets: dict[Key, Layer] = {}
    for (component, flat), layer in lora.layers.items():
        path = names[component][flat]
        if (component, path) in targets:
            raise ModelFileError(f"{lora.name} names {component}.{path} twice, in two spellings.")
        _check_fit(layer, modules[component][path], f"{lora.name}: {component}.{path}", lora)
        targets[component, path] = layer
    return targets


def _changeable(module: nn.Module) -> dict[str, nn.Module]:
    """Return the modules a LoRA can change, by path: all with a weight, as whole differences may change any."""
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
    shapes = {flat: layer.shape for (component, flat), layer in lora.layers.items() if component == UNET}
    return origin_of_layers({flat: shape[1] for flat, shape in shapes.items() if len(shape) > 1}) or "another model"


def with_lora(
    model: DiffusionModel, lora: Lora, strength: float = 1.0, strength_text: float | None = None
) -> DiffusionModel:
    """Return a new handle that also uses `lora`; it shares all modules, and `model` stays as it is.

    Args:
        model: what the LoRA was made for.
        lora: from `read_lora`; several may be added one after the other.
        strength: how strongly the UNet takes it, -20 to 20; 0 is not at all.
        strength_text: the same for the text encoders; None is `strength`.

    Raises:
        InputError: a strength outside its range.
        ModelFileError: the LoRA does not fit this model.
    """
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


def at_strength(model: DiffusionModel, strength: float) -> DiffusionModel:
    """Return a handle whose last LoRA has another strength, -20 to 20, the text encoders' too.

    Raises InputError for a model without a LoRA.
    """
    if not model.loras:
        raise InputError("lora_strength", strength, f"{model.name} has no LoRA: connect Load Taste LoRA before it.")
    last = model.loras[-1]
    if (last.strength, last.strength_text) == (strength, strength):
        return model
    text = f"{model.fingerprint}:last at {strength!r}"
    return replace(
        model,
        loras=(*model.loras[:-1], replace(last, strength=strength, strength_text=strength)),
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
    """Run the named components with the model's LoRAs on them for the length of the block.

    Computed in float32, then in each weight's own dtype, on its device: one rounding for all LoRAs together.
    Afterwards, whatever happened, the original Parameter objects are back, untouched. Components the model
    does not have are passed over, so that `("text_encoder", "text_encoder_2")` serves refiners too.

    Raises NonFiniteError when an adapted weight overflows, and RuntimeError when one of the modules
    already runs with LoRAs on it (a block inside another's).
    """
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
        if not _all(finite):
            names = ", ".join(f"{a.lora.name} at {a.strength:g}" for a in model.loras)
            raise NonFiniteError(
                f"The LoRAs on {model.name} ({names}) make weights too large for {model.dtype}. Lower their strength, "
                "or load the model in float32."
            )
        yield
    finally:
        for module, name, own in reversed(originals):
            setattr(module, name, own)


def _all(flags: Sequence[torch.Tensor]) -> bool:
    """Return whether all of several flags are set: one wait a device, not one a layer."""
    import torch

    devices = {flag.device for flag in flags}
    return all(bool(torch.stack([f for f in flags if f.device == device]).all()) for device in devices)


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

"""LoRA files (Hu et al. 2021, arXiv 2106.09685): reading, using without a trace, writing.

A layer's weight W (out, in, ...) becomes W + strength * alpha / rank * up @ down, with up (out, rank)
and down (rank, in, ...). A model handle only remembers its LoRAs; `applied_loras` puts merged weights
in place for the length of a `with` block, and the very Parameters that were there back afterwards.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, ModelFileError, NonFiniteError
from .keys import UNET, kohya_name, spellings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..model import DiffusionModel

MAX_STRENGTH = 20.0
_SHOWN = 5
_MERGED = "_tastemaker_merged"  # marks a Parameter that stands in for the model's own


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """One layer's change: up (out, rank[, 1, 1]), down (rank, in[, kH, kW]).

    LoCon's Tucker form has mid (rank, rank, kH, kW) between the two, and a down of (rank, in[, 1, 1]).
    """

    up: torch.Tensor
    down: torch.Tensor
    alpha: float
    mid: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    @property
    def kernel(self) -> tuple[int, ...]:
        """(kH, kW) of the convolution it changes, without ones; () for a linear layer."""
        return _kernel(self.down if self.mid is None else self.mid)

    def matrices(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """(out, rank) and (rank, in * kH * kW), whose product is the change before `scale`."""
        import torch

        up = self.up.to(device, dtype).flatten(1)
        down = self.down.to(device, dtype).flatten(1)
        if self.mid is not None:  # Yeh et al. 2023 (LyCORIS, arXiv 2309.14859), Tucker decomposition
            down = torch.einsum("ijhw,jc->ichw", self.mid.to(device, dtype), down).flatten(1)
        return up, down


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA file's contents, not tied to a model.

    Attributes:
        name: for messages.
        fingerprint: names the contents; equal contents, equal name.
        layers: (component, flat name) to layer; `match` finds a model's modules for them.
    """

    name: str
    fingerprint: str
    layers: Mapping[tuple[str, str], LoraLayer]


@dataclass(frozen=True, eq=False)
class AppliedLora:
    """A LoRA on a model: its layers by (component, module path), and how strongly each side takes it."""

    lora: Lora
    strength: float
    strength_text: float
    targets: Mapping[tuple[str, str], LoraLayer]

    def strength_of(self, component: str) -> float:
        return self.strength if component == UNET else self.strength_text


def _kernel(tensor: torch.Tensor) -> tuple[int, ...]:
    return () if all(n == 1 for n in tensor.shape[2:]) else tuple(tensor.shape[2:])


def make_lora(name: str, layers: Mapping[tuple[str, str], LoraLayer]) -> Lora:
    """A `Lora` of layers at hand; checks that each one is a LoRA layer of finite numbers.

    Raises ModelFileError naming the layer and what is wrong with it.
    """
    digest = hashlib.sha256()
    for (component, flat), layer in sorted(layers.items()):
        _check_layer(layer, f"{name}: {component}.{flat}")
        digest.update(f"{component}.{flat}:{layer.alpha!r}".encode())
        for tensor in (layer.up, layer.down, layer.mid):
            if tensor is not None:
                digest.update(f":{tensor.dtype}:{tuple(tensor.shape)}".encode())
                digest.update(_bytes(tensor))
    return Lora(name, digest.hexdigest()[:16], dict(layers))


def _bytes(tensor: torch.Tensor) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _check_layer(layer: LoraLayer, where: str) -> None:
    tensors = {"up": layer.up, "down": layer.down} | ({} if layer.mid is None else {"mid": layer.mid})
    for part, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.ndim not in (2, 4) or 0 in tensor.shape:
            raise ModelFileError(f"{where} has a {part} of {tensor.dtype} {tuple(tensor.shape)}, which is no LoRA's.")
        if not tensor.float().isfinite().all():
            raise ModelFileError(f"{where} holds NaN or infinity in its {part} matrix. Download the LoRA again.")
    shapes = ", ".join(f"{part} {tuple(tensor.shape)}" for part, tensor in tensors.items())
    middle = (layer.rank, layer.rank) if layer.mid is None else tuple(layer.mid.shape[:2])
    fits = layer.up.shape[1] == middle[0] and layer.down.shape[0] == middle[1] and not _kernel(layer.up)
    if not fits or (layer.mid is not None and _kernel(layer.down)):
        raise ModelFileError(f"The matrices of {where} do not fit each other ({shapes}).")
    if not math.isfinite(layer.alpha):
        raise ModelFileError(f"{where} has the alpha {layer.alpha}; it must be a finite number.")


# --- on a model ---------------------------------------------------------------------------------


def match(lora: Lora, model: DiffusionModel) -> dict[tuple[str, str], LoraLayer]:
    """Find the model's module for every layer: (component, module path) to layer.

    Raises ModelFileError when a layer has no module in this model, two have the same one, or a shape
    does not fit: nothing of a LoRA is left out silently.
    """
    modules = {c: _changeable(module) for c, module in model.modules.items() if c != "vae"}
    names = {c: spellings(c, found) for c, found in modules.items()}
    targets: dict[tuple[str, str], LoraLayer] = {}
    unknown = []
    for (component, flat), layer in lora.layers.items():
        path = names.get(component, {}).get(flat)
        if path is None:
            unknown.append(f"{component}.{flat}")
            continue
        if (component, path) in targets:
            raise ModelFileError(f"{lora.name} names {component}.{path} twice, in two spellings.")
        _check_fit(layer, modules[component][path], f"{lora.name}: {component}.{path}")
        targets[component, path] = layer
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise ModelFileError(
            f"{lora.name} was made for another model: {len(unknown)} of its {len(lora.layers)} layers are not in "
            f"{model.name} ({', '.join(sorted(unknown)[:_SHOWN])}{more}). Pick a LoRA made for {model.name}."
        )
    return targets


def _changeable(module: nn.Module) -> dict[str, nn.Module]:
    """The modules a LoRA can change: linear layers and convolutions, by path."""
    from torch import nn

    return {path: m for path, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def _check_fit(layer: LoraLayer, module: nn.Module, where: str) -> None:
    shape = tuple(module.weight.shape)
    wanted = (shape[0], shape[1], _kernel(module.weight))
    found = (layer.up.shape[0], layer.down.shape[1], layer.kernel)
    if found != wanted:
        raise ModelFileError(
            f"{where} does not fit: it changes a weight of shape {(*found[:2], *found[2])}, the model's is {shape}. "
            "It was made for another model."
        )


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


def _changes(model: DiffusionModel, components: Sequence[str]) -> dict[tuple[str, str], list[tuple[float, LoraLayer]]]:
    """(component, module path) to the (strength * scale, layer) pairs that change it; zeros change nothing."""
    found: dict[tuple[str, str], list[tuple[float, LoraLayer]]] = {}
    for applied in model.loras:
        for (component, path), layer in applied.targets.items():
            factor = applied.strength_of(component) * layer.scale
            if component in components and factor:
                found.setdefault((component, path), []).append((factor, layer))
    return found


def merged_bytes(model: DiffusionModel, components: Sequence[str]) -> int:
    """Memory that `applied_loras` takes for its merged weights, in bytes."""
    weights = [model.modules[c].get_submodule(path).weight for c, path in _changes(model, components)]
    return sum(w.numel() * w.element_size() for w in weights)


@contextmanager
def applied_loras(model: DiffusionModel, components: Sequence[str]) -> Iterator[None]:
    """For the length of the block the named components run with the model's LoRAs merged in.

    Merged in float32, then in each weight's own dtype, on its device. Afterwards, whatever happened,
    the original Parameter objects are back, untouched. Components the model does not have are passed
    over, so that `("text_encoder", "text_encoder_2")` serves refiners too.

    Raises NonFiniteError when a merged weight overflows, and RuntimeError when one of the modules
    already runs with LoRAs merged in (a block inside another's).
    """
    import torch
    from torch import nn

    originals: list[tuple[nn.Module, nn.Parameter]] = []
    finite = []
    try:
        for (component, path), changes in _changes(model, components).items():
            module = model.modules[component].get_submodule(path)
            weight = _own_weight(module, f"{component}.{path}")
            merged = nn.Parameter(merged_weight(weight, changes), requires_grad=weight.requires_grad)
            setattr(merged, _MERGED, True)
            finite.append(merged.detach().isfinite().all())
            originals.append((module, weight))
            module.weight = merged
        if finite and not torch.stack([flag.cpu() for flag in finite]).all():
            names = ", ".join(f"{a.lora.name} at {a.strength:g}" for a in model.loras)
            raise NonFiniteError(
                f"The LoRAs on {model.name} ({names}) make weights too large for {model.dtype}. Lower their strength, "
                "or load the model in float32."
            )
        yield
    finally:
        for module, weight in reversed(originals):
            module.weight = weight


def _own_weight(module: nn.Module, where: str) -> nn.Parameter:
    weight = module._parameters.get("weight")
    if weight is None:
        raise RuntimeError(f"{where} is wrapped by something else; LoRAs are merged into plain layers.")
    if getattr(weight, _MERGED, False):
        raise RuntimeError(f"{where} already runs with LoRAs merged in; a model cannot be used inside its own use.")
    return weight


def merged_weight(weight: torch.Tensor, changes: Sequence[tuple[float, LoraLayer]]) -> torch.Tensor:
    """weight + sum factor * up @ down, computed in float32, in the weight's dtype; a new tensor.

    Shape: weight (out, in[, kH, kW]) to the same.
    """
    import torch

    total = weight.detach().float().flatten(1)  # (out, in * kH * kW)
    for factor, layer in changes:
        total = torch.addmm(total, *layer.matrices(weight.device, torch.float32), alpha=factor)
    return total.reshape(weight.shape).to(weight.dtype)


# --- writing ------------------------------------------------------------------------------------


def lora_state(layers: Mapping[tuple[str, str], LoraLayer]) -> dict[str, torch.Tensor]:
    """Layers by (component, module path) as a kohya state dict, the form every host loads whole.

    Each layer gets its own alpha. The tensors are contiguous copies, ready to be saved; ComfyUI's
    LORA_MODEL wire carries the same dictionary.
    """
    import torch

    state = {}
    for (component, path), layer in layers.items():
        name = kohya_name(component, path)
        parts = {"lora_up": layer.up, "lora_down": layer.down, "lora_mid": layer.mid}
        for part, tensor in parts.items():
            if tensor is not None:
                state[f"{name}.{part}.weight"] = tensor.detach().clone(memory_format=torch.contiguous_format)
        state[f"{name}.alpha"] = torch.tensor(float(layer.alpha))
    return state


def read_lora(path: str | Path) -> Lora:
    """Read a LoRA from a safetensors file: kohya's, diffusers', peft's or ComfyUI's spelling.

    An absent alpha is the rank. Raises ModelFileError for what is no LoRA, for other kinds of adapter
    (DoRA, LoHa, LoKr, ...) by name, and for keys that are not understood.
    """
    from .file import read_layers

    path = Path(path)
    return make_lora(path.stem, read_layers(path))

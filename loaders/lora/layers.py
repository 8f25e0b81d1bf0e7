"""The layers of a LoRA file: one class for each kind, with its factors; and a LoRA, alone or on a model.

A kind says which tensors it keeps, which weight shape they make, and what is added to a weight at strength 1.
Strength draws the line from the model's weight to the adapted one: W + strength * (adapted - W), for every kind.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from .keys import UNET

if TYPE_CHECKING:
    from torch import Tensor

Key: TypeAlias = "tuple[str, str]"  # (component, flat name), or (component, module path)


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer(ABC):
    """What a LoRA changes about one module.

    Attributes:
        magnitude: DoRA's magnitudes, (out, 1) or (1, in), with as many ones after them as the weight has.
        bias: what is added to the module's bias, (out,).
        KIND: what artists call it.
        NAMES: attribute -> what the tensor is called at the end of a kohya or LyCORIS key.
    """

    magnitude: Tensor | None = None
    bias: Tensor | None = None

    KIND: ClassVar[str] = ""
    NAMES: ClassVar[Mapping[str, str]] = {}

    def tensors(self) -> dict[str, Tensor]:
        """Return its tensors by attribute, those that are there."""
        found = {name: getattr(self, name) for name in (*self.NAMES, "magnitude", "bias")}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def saved(self) -> dict[str, Tensor]:
        """Return its tensors by the end of their LyCORIS key; `lora_state` puts the module's name before them."""
        names = {"magnitude": "dora_scale", "bias": "diff_b", **self.NAMES}
        return {names[name]: tensor for name, tensor in self.tensors().items()}

    @property
    def settings(self) -> str:
        """What else tells it apart, for a fingerprint."""
        return ""

    @property
    def misfit(self) -> bool:
        """Whether its factors do not fit each other."""
        return False

    @property
    def host_exact(self) -> bool:
        """Whether ComfyUI computes the same of the same tensors: with DoRA's norm of each input, not of each output."""
        return self.magnitude is None or self.magnitude.shape[0] == 1

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(out, in[, kH, kW]) or (out, in * kH * kW) of the weight it changes, or () for none."""

    @abstractmethod
    def added(self, weight: Tensor) -> Tensor:
        """Return what it adds to a float32 weight at strength 1, before DoRA's norm: (out, in * kH * kW)."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it can change a weight of this shape."""
        found = self.shape
        if len(found) > 2 and kernel(found) != kernel(shape):
            return False
        same = not found or (found[0] == shape[0] and math.prod(found[1:]) == math.prod(shape[1:]))
        return same and (self.magnitude is None or self._magnitude_fits(shape))

    def _magnitude_fits(self, shape: tuple[int, ...]) -> bool:
        found = tuple(self.magnitude.shape)  # type: ignore[union-attr]
        return len(shape) > 1 and found[:2] in ((shape[0], 1), (1, shape[1])) and not kernel(found)

    def applied(self, weight: Tensor, strength: float) -> Tensor:
        """Return a float32 weight with this on it; a new tensor of the same shape."""
        if not self.shape:
            return weight
        if self.magnitude is None:
            return weight.add(self.added(weight).reshape(weight.shape), alpha=strength)
        from .kinds import decomposed

        adapted = decomposed(weight + self.added(weight).reshape(weight.shape), like(self.magnitude, weight))
        return adapted if strength == 1 else weight.lerp(adapted, strength)


@dataclass(frozen=True, eq=False)
class ScaledLayer(Layer):
    """A kind whose factors have a rank, and whose change is scaled by alpha / rank."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Inner size of its factors; 0 for whole ones, which are not scaled."""

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank if self.rank else 1.0  # type: ignore[attr-defined]

    @property
    def settings(self) -> str:
        return repr(self.alpha)  # type: ignore[attr-defined]

    def saved(self) -> dict[str, Tensor]:
        from torch import tensor

        return super().saved() | {"alpha": tensor(float(self.alpha))}  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class LoraLayer(ScaledLayer):
    """LoRA and LoCon: up (out, r[, 1, 1]), down (r, in[, kH, kW]) or (r, in * kH * kW).

    LoCon's Tucker form has mid (r, r, kH, kW) between the two, and a down of (r, in[, 1, 1]).
    """

    up: Tensor
    down: Tensor
    alpha: float
    mid: Tensor | None = None

    KIND = "LoRA"
    NAMES = {"up": "lora_up.weight", "down": "lora_down.weight", "mid": "lora_mid.weight"}

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def misfit(self) -> bool:
        middle = (self.rank, self.rank) if self.mid is None else tuple(self.mid.shape[:2])
        fits = self.up.ndim > 1 and (self.up.shape[1], self.down.shape[0]) == middle and not kernel(self.up.shape)
        return not fits or (self.mid is not None and bool(kernel(self.down.shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        kernel = self.down.shape[2:] if self.mid is None else self.mid.shape[2:]
        return (self.up.shape[0], self.down.shape[1], *kernel)

    def added(self, weight: Tensor) -> Tensor:
        up, down = self._matrices(weight)
        return self.scale * up @ down

    def applied(self, weight: Tensor, strength: float) -> Tensor:
        if self.magnitude is not None:
            return super().applied(weight, strength)
        up, down = self._matrices(weight)  # in one step, without the product in memory
        return weight.flatten(1).addmm(up, down, alpha=strength * self.scale).reshape(weight.shape)

    def _matrices(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(out, r) and (r, in * kH * kW), whose product is the change before `scale`."""
        up, down = like(self.up, weight).flatten(1), like(self.down, weight).flatten(1)
        if self.mid is not None:
            from .kinds import core_product

            down = core_product(like(self.mid, weight), down).flatten(1)
        return up, down


@dataclass(frozen=True, eq=False)
class FullLayer(Layer):
    """A whole difference of a weight of any shape, a norm's too; or of the bias alone."""

    diff: Tensor | None = None

    KIND = "whole difference"
    NAMES = {"diff": "diff"}

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.diff is None else tuple(self.diff.shape)

    def added(self, weight: Tensor) -> Tensor:
        return like(self.diff, weight)


@dataclass(frozen=True, eq=False)
class SetLayer(Layer):
    """A weight that stands in for the model's: ComfyUI's `set_weight`."""

    value: Tensor

    KIND = "whole weight"
    NAMES = {"value": "set_weight"}

    @property
    def host_exact(self) -> bool:
        return False  # ComfyUI sets it whatever the strength

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def added(self, weight: Tensor) -> Tensor:
        return like(self.value, weight).reshape(weight.shape) - weight


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA file's contents, not tied to a model.

    Attributes:
        name: for messages.
        fingerprint: names the contents; equal contents, equal name.
        layers: (component, flat name) to layer; `apply.match` finds a model's modules for them.
        notes: what of the file is not used, in words; empty for most.
    """

    name: str
    fingerprint: str
    layers: Mapping[Key, Layer]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return what it holds in a line, and its notes, a line each."""
        kinds = Counter("DoRA" if layer.magnitude is not None else layer.KIND for layer in self.layers.values())
        counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        return "\n".join((f"{self.name}: {len(self.layers):,} layers ({counted}).", *self.notes))


@dataclass(frozen=True, eq=False)
class AppliedLora:
    """A LoRA on a model: its layers by (component, module path), and how strongly each side takes it."""

    lora: Lora
    strength: float
    strength_text: float
    targets: Mapping[Key, Layer]

    def strength_of(self, component: str) -> float:
        return self.strength if component == UNET else self.strength_text


def kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (kH, kW) of a weight's shape, () where it has none or only ones."""
    return () if all(n == 1 for n in shape[2:]) else tuple(shape[2:])


def like(tensor: Tensor | None, weight: Tensor) -> Tensor:
    """Return a factor on the weight's device, in its number format."""
    assert tensor is not None
    return tensor.to(weight.device, weight.dtype)

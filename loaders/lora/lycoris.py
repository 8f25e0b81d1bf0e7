"""The kinds of layer of the LyCORIS library: LoHa, LoKr, GLoRA, (IA)^3, OFT and BOFT.

Their mathematics and its sources are in `kinds`; what every kind shares is in `layers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .kinds import butterfly, cayley, glora, kronecker, rotated, scaled_channels, tucker
from .layers import Layer, ScaledLayer, kernel, like


@dataclass(frozen=True, eq=False)
class LohaLayer(ScaledLayer):
    """LoHa: w1_a (out, r), w1_b (r, in * kH * kW), and w2 the same.

    The Tucker form has cores t1 and t2 (r, r, kH, kW), and w1_a, w2_a (r, out), w1_b, w2_b (r, in).
    """

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    alpha: float
    t1: Tensor | None = None
    t2: Tensor | None = None

    KIND = "LoHa"
    NAMES = {n: f"hada_{n}" for n in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")}

    @property
    def rank(self) -> int:
        return int(self.w1_b.shape[0])

    @property
    def misfit(self) -> bool:
        if not all(t.ndim == 2 for t in (self.w1_a, self.w1_b, self.w2_a, self.w2_b)):
            return True
        halves = [(self.t1, self.w1_a, self.w1_b), (self.t2, self.w2_a, self.w2_b)]
        shapes = [_product_shape(core, a, b) for core, a, b in halves]
        return None in shapes or shapes[0] != shapes[1]

    @property
    def shape(self) -> tuple[int, ...]:
        return _product_shape(self.t1, self.w1_a, self.w1_b) or ()

    def added(self, weight: Tensor) -> Tensor:
        w1 = _product(weight, self.t1, self.w1_a, self.w1_b)
        return w1 * _product(weight, self.t2, self.w2_a, self.w2_b) * self.scale


@dataclass(frozen=True, eq=False)
class LokrLayer(ScaledLayer):
    """LoKr: w1 (o1, i1) and w2 (o2, i2[, kH, kW]), each whole or as a product of its _a and _b.

    The Tucker form of w2 has the core t2 (r, r, kH, kW), w2_a (r, o2) and w2_b (r, i2).
    """

    alpha: float
    w1: Tensor | None = None
    w1_a: Tensor | None = None
    w1_b: Tensor | None = None
    w2: Tensor | None = None
    w2_a: Tensor | None = None
    w2_b: Tensor | None = None
    t2: Tensor | None = None

    KIND = "LoKr"
    NAMES = {n: f"lokr_{n}" for n in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")}

    @property
    def rank(self) -> int:
        inner = self.w2_b if self.w2_b is not None else self.w1_b
        return 0 if inner is None else int(inner.shape[0])

    @property
    def _shapes(self) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        one = tuple(self.w1.shape) if self.w1 is not None else _product_shape(None, self.w1_a, self.w1_b)
        two = tuple(self.w2.shape) if self.w2 is not None else _product_shape(self.t2, self.w2_a, self.w2_b)
        return one, two

    @property
    def misfit(self) -> bool:
        one, two = self._shapes
        doubled = any(
            whole is not None and (a is not None or b is not None)
            for whole, a, b in ((self.w1, self.w1_a, self.w1_b), (self.w2, self.w2_a, self.w2_b))
        )
        return doubled or one is None or two is None or len(one) != 2 or (self.w2 is not None and self.t2 is not None)

    @property
    def shape(self) -> tuple[int, ...]:
        one, two = self._shapes
        return () if one is None or two is None else (one[0] * two[0], one[1] * two[1], *two[2:])

    @property
    def host_exact(self) -> bool:
        return super().host_exact and self.t2 is None  # torch.kron refuses what ComfyUI makes of a core

    def added(self, weight: Tensor) -> Tensor:
        w1 = like(self.w1, weight) if self.w1 is not None else _product(weight, None, self.w1_a, self.w1_b)
        w2 = like(self.w2, weight) if self.w2 is not None else _product(weight, self.t2, self.w2_a, self.w2_b)
        return kronecker(w1 * self.scale, w2)


@dataclass(frozen=True, eq=False)
class GloraLayer(ScaledLayer):
    """GLoRA: a1 (in, r), a2 (r, in), b1 (out, r), b2 (r, in[, kH, kW]), those of a convolution with ones after them."""

    a1: Tensor
    a2: Tensor
    b1: Tensor
    b2: Tensor
    alpha: float

    KIND = "GLoRA"
    NAMES = {n: f"{n}.weight" for n in ("a1", "a2", "b1", "b2")}

    @property
    def rank(self) -> int:
        return int(self.b2.shape[0])

    @property
    def misfit(self) -> bool:
        if any(t.ndim < 2 for t in self.tensors().values() if t is not self.bias):
            return True
        r = self.rank
        inner = (self.a1.shape[1], self.a2.shape[0], self.b1.shape[1]) == (r, r, r)
        return not inner or self.a1.shape[0] != self.a2.shape[1] or any(kernel(t.shape) for t in (self.a1, self.a2))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.b1.shape[0], *self.b2.shape[1:])

    def fits(self, shape: tuple[int, ...]) -> bool:
        return super().fits(shape) and self.a1.shape[0] == shape[1]

    def added(self, weight: Tensor) -> Tensor:
        factors = [like(t, weight).flatten(1) for t in (self.a1, self.a2, self.b1, self.b2)]
        return glora(weight, *factors) * self.scale


@dataclass(frozen=True, eq=False)
class Ia3Layer(Layer):
    """(IA)^3 of LyCORIS: one factor for each output channel, or input channel; 0 changes nothing."""

    factors: Tensor
    on_input: bool

    KIND = "(IA)^3"
    NAMES = {"factors": "weight"}

    @property
    def host_exact(self) -> bool:
        return False  # ComfyUI does not read them

    @property
    def settings(self) -> str:
        return repr(self.on_input)

    def saved(self) -> dict[str, Tensor]:
        return super().saved() | {"on_input": torch.tensor(int(self.on_input))}

    @property
    def misfit(self) -> bool:
        return self.factors.numel() != max(self.factors.shape, default=0)  # one side alone is longer than 1

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.factors.numel(), 1)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) > 1 and self.magnitude is None and self.factors.numel() == shape[1 if self.on_input else 0]

    def added(self, weight: Tensor) -> Tensor:
        return scaled_channels(weight, like(self.factors, weight).flatten(), on_input=self.on_input)


@dataclass(frozen=True, eq=False)
class OftLayer(Layer):
    """OFT: blocks (n, b, b). BOFT: blocks (m, n, b, b). n * b is out.

    `limit` is the largest norm that all of Q may have, 0 for none; rescale (out, 1[, 1, 1]) is a factor for each
    output channel afterwards.
    """

    blocks: Tensor
    limit: float = 0.0
    rescale: Tensor | None = None

    KIND = "OFT"
    NAMES = {"blocks": "oft_blocks", "rescale": "rescale"}

    @property
    def host_exact(self) -> bool:
        return False  # ComfyUI takes another constraint and the strength twice

    @property
    def settings(self) -> str:
        return repr(self.limit)

    @property
    def outputs(self) -> int:
        return int(self.blocks.shape[-3] * self.blocks.shape[-1])

    def saved(self) -> dict[str, Tensor]:
        return super().saved() | {"alpha": torch.tensor(self.limit / self.outputs)}  # LyCORIS: of each output channel

    @property
    def misfit(self) -> bool:
        if self.blocks.ndim not in (3, 4) or self.blocks.shape[-1] != self.blocks.shape[-2]:
            return True
        if self.blocks.ndim == 4:  # the widest stage must still divide the outputs
            stages, width = len(self.blocks), self.blocks.shape[-1]
            if width % 2 or stages > 20 or self.outputs % (2 ** (stages - 1) * width):
                return True
        return self.rescale is not None and self.rescale.numel() != self.outputs

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.outputs, 1)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) > 1 and self.magnitude is None and self.outputs == shape[0]

    def added(self, weight: Tensor) -> Tensor:
        rotations = cayley(like(self.blocks, weight), self.limit)
        turned = (rotated if self.blocks.ndim == 3 else butterfly)(weight.flatten(1), rotations)
        if self.rescale is not None:
            turned = turned * like(self.rescale, weight).reshape(-1, 1)
        return turned - weight.flatten(1)


def _product_shape(core: Tensor | None, a: Tensor | None, b: Tensor | None) -> tuple[int, ...] | None:
    """Shape of a @ b, or of their Tucker form with a core; None where they do not fit."""
    if a is None or b is None or a.ndim != 2 or b.ndim < 2:
        return None
    if core is None:
        return (a.shape[0], *b.shape[1:]) if a.shape[1] == b.shape[0] else None
    fits = core.ndim == 4 and b.ndim == 2 and tuple(core.shape[:2]) == (a.shape[0], b.shape[0])
    return (a.shape[1], b.shape[1], *core.shape[2:]) if fits else None


def _product(weight: Tensor, core: Tensor | None, a: Tensor | None, b: Tensor | None) -> Tensor:
    """Compute a @ b, or their Tucker form, as (out, in * kH * kW)."""
    a, b = like(a, weight), like(b, weight).flatten(1)
    if core is None:
        return a @ b
    return tucker(like(core, weight), a, b)

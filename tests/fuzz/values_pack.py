"""A custom node for the tests' server: values of any Python kind on a wire that may go anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

# Not among them: what Python cannot show (10**5000, an object whose repr raises). The host's worker writes a failing
# node's inputs down by itself, and dies of those, whatever the node said.


def _cycle() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "minus one": lambda: -1,
    "one": lambda: 1,
    "huge": lambda: 2**64,
    "hugest": lambda: 10**400,
    "half": lambda: 0.5,
    "nan": lambda: math.nan,
    "infinity": lambda: math.inf,
    "complex": lambda: 1j,
    "text": lambda: "abc",
    "empty text": lambda: "",
    "long text": lambda: "a" * 200_000,
    "surrogate": lambda: "bad \ud800",
    "bidi": lambda: "\u202egnp.exe",
    "bytes": lambda: b"\xff\0",
    "list": lambda: [1, 2],
    "empty list": lambda: [],
    "texts": lambda: ["a", "b"],
    "cycle": _cycle,
    "tuple": lambda: (1,),
    "empty tuple": lambda: (),
    "record": lambda: {"a": 1},
    "samples of text": lambda: {"samples": "abc"},
    "samples of whole numbers": lambda: {"samples": torch.zeros(1, 4, 8, 8, dtype=torch.int64)},
    "samples": lambda: {"samples": torch.zeros(1, 4, 8, 8)},
    "samples of six channels": lambda: {"samples": torch.zeros(1, 6, 8, 8)},
    "samples of nan": lambda: {"samples": torch.full((1, 4, 8, 8), math.nan)},
    "samples with a mask of text": lambda: {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": "abc"},
    "samples with an odd mask": lambda: {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": torch.ones(3, 5, 7)},
    "object": object,
    "class": lambda: int,
    "function": lambda: len,
    "scalar": lambda: torch.tensor(1.0),
    "vector": lambda: torch.zeros(3),
    "picture": lambda: torch.zeros(1, 16, 16, 3),
    "pictures": lambda: torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0)),
    "no pictures": lambda: torch.zeros(0, 16, 16, 3),
    "grey": lambda: torch.zeros(1, 16, 16, 1),
    "transparent": lambda: torch.zeros(1, 16, 16, 4),
    "one pixel": lambda: torch.zeros(1, 1, 1, 3),
    "flat": lambda: torch.zeros(1, 0, 16, 3),
    "nan picture": lambda: torch.full((1, 16, 16, 3), math.nan),
    "loud picture": lambda: torch.full((1, 16, 16, 3), 1e30),
    "bytes picture": lambda: torch.zeros(1, 16, 16, 3, dtype=torch.uint8),
    "bool picture": lambda: torch.zeros(1, 16, 16, 3, dtype=torch.bool),
    "half picture": lambda: torch.zeros(1, 16, 16, 3, dtype=torch.float16),
    "double picture": lambda: torch.zeros(1, 16, 16, 3, dtype=torch.float64),
    "complex picture": lambda: torch.zeros(1, 16, 16, 3, dtype=torch.complex64),
    "sparse picture": lambda: torch.zeros(1, 16, 16, 3).to_sparse(),
    "meta picture": lambda: torch.zeros(1, 16, 16, 3, device="meta"),
    "turned picture": lambda: torch.zeros(1, 3, 16, 16).permute(0, 2, 3, 1),
    "expanded picture": lambda: torch.zeros(1, 1, 1, 3).expand(2, 16, 16, 3),
    "mask": lambda: torch.ones(1, 16, 16),
    "bool mask": lambda: torch.ones(1, 16, 16, dtype=torch.bool),
    "five dimensions": lambda: torch.zeros(1, 1, 4, 8, 8),
}


class _Any(str):
    """The type that packs give an output which may be connected to anything: the host finds it unlike nothing."""

    def __ne__(self, other: object) -> bool:
        return False


class FuzzValue:
    """One of the values above, by its name."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"value": (list(VALUES),)}}

    RETURN_TYPES = (_Any("*"),)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self, value: str) -> tuple[Any]:
        return (VALUES[value](),)


class FuzzShow:
    """Runs whatever is connected."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"value": ("*",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types: dict[str, str]) -> bool:  # noqa: N802
        return True

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True
    CATEGORY = "test"

    def show(self, value: Any) -> tuple[()]:
        return ()


NODE_CLASS_MAPPINGS = {"FuzzValue": FuzzValue, "FuzzShow": FuzzShow}

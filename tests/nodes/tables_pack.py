"""A custom node for the tests' server: tables of scores of any size and kind, without a model."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch


def _ours(name: str) -> Any:
    """A module of the pack, under the name the host has given the pack."""
    known = next(n for n in sys.modules if n.endswith("tastemaker.nodes.rank"))
    return importlib.import_module(known.removesuffix("nodes.rank") + name)


def _picture(i: int, side: int) -> torch.Tensor:
    """A gradient that differs from every other: (side, side, 3)."""
    ramp = torch.linspace(0, 1, side)
    tint = torch.tensor([(i * 37 % 100) / 100, (i * 61 % 100) / 100, (i * 17 % 100) / 100])
    return (ramp[:, None, None] * 0.5 + ramp[None, :, None] * 0.2 + tint * 0.3).clamp(0, 1)


class SizedPictures:
    """Pictures of several sizes: every other one is twice as wide."""

    def __init__(self, count: int, side: int, places: list[int] | None = None) -> None:
        self.count, self.side, self.places = count, side, list(range(count)) if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    def picture(self, i: int) -> torch.Tensor:
        picture = _picture(self.places[i], self.side)
        return picture.repeat(1, 2, 1) if self.places[i] % 2 else picture

    def size(self, i: int) -> tuple[int, int]:
        return self.side, self.side * (1 + self.places[i] % 2)

    def rows(self, index: Any) -> SizedPictures:
        return type(self)(self.count, self.side, [self.places[i] for i in index])

    def name(self, i: int) -> str:
        return f"picture {self.places[i]}.png"

    def key(self, i: int) -> str:
        return f"{self.places[i]:08x}{self.side:08x}" + "0" * 48


class ChangedPictures(SizedPictures):
    """The same, but the file of the second was changed since."""

    def picture(self, i: int) -> torch.Tensor:
        if self.places[i] == 1:
            raise _ours("images.decode").PictureError("was changed since its folder was read")
        return super().picture(i)


KINDS = {"sizes": SizedPictures, "changed": ChangedPictures}


def _pictures(kind: str, count: int, side: int) -> Any:
    """Pictures of the pack's own class, which has a name only once the host runs."""
    return type(kind, (KINDS[kind], _ours("images.pictures").Pictures), {})(count, side)


class TestTable:
    """A table: picture i has seed 100 + i; of two columns the first falls with i, the second rises."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {
                "count": ("INT", {"default": 8, "max": 10_000}),
                "side": ("INT", {"default": 32}),
                "prompts": ("STRING", {"default": "a", "multiline": True}),
                "kind": (["batch", *KINDS],),
                "columns": ("INT", {"default": 2}),
                "seeds": ("BOOLEAN", {"default": True}),
                "extras": ("BOOLEAN", {"default": False}),
            }
        }

    RETURN_TYPES = ("TASTE_SCORES",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(
        self, count: int, side: int, prompts: str, kind: str, columns: int, seeds: bool, extras: bool
    ) -> tuple[Any]:
        texts = prompts.split("\n")
        batch = kind not in KINDS
        pictures = torch.stack([_picture(i, side) for i in range(count)]) if batch else _pictures(kind, count, side)
        falling = 1 - 2 * torch.arange(count) / max(1, count - 1)
        scores = {"first": falling, "second": -3 * falling, "third": falling**2}
        table = _ours("ranking.table").ScoreTable(
            pictures,
            tuple(texts[i % len(texts)] for i in range(count)),
            tuple(2**62 + i if seeds else None for i in range(count)),
            dict(list(scores.items())[:columns]),
            "first",
            extras={"latents": torch.arange(float(count))[:, None, None, None].repeat(1, 4, 2, 2)} if extras else {},
        )
        return (table,)


NODE_CLASS_MAPPINGS = {"TestTable": TestTable}

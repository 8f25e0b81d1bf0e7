"""A custom node for the tests' server: tables of two models' pictures of the same prompts and seeds."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch


def _ours(name: str) -> Any:
    """A module of the pack, under the name the host has given the pack."""
    known = next(n for n in sys.modules if n.endswith("tastemaker.nodes.rank"))
    return importlib.import_module(known.removesuffix("nodes.rank") + name)


def _picture(i: int, side: int, width: int, tint: int) -> torch.Tensor:
    """A gradient that differs from every other, redder with the tint: (side, width, 3)."""
    down, across = torch.linspace(0, 0.5, side)[:, None], torch.linspace(0, 0.2, width)[None]
    shades = [(i * 37 % 100) / 400 + 0.2 * tint, (i * 61 % 100) / 400, (i * 17 % 100) / 400]
    return torch.stack([down + across + shade for shade in shades], -1).clamp(0, 1)


class TestTwin:
    """Picture i has seed 2**62 + i; its score is i + tint."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {
                "count": ("INT", {"default": 6, "max": 1000}),
                "side": ("INT", {"default": 24, "max": 2048}),
                "width": ("INT", {"default": 24, "max": 2048}),
                "prompts": ("STRING", {"default": "a", "multiline": True}),
                "tint": ("INT", {"default": 0, "max": 2}),
            }
        }

    RETURN_TYPES = ("TASTE_SCORES",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self, count: int, side: int, width: int, prompts: str, tint: int) -> tuple[Any]:
        texts = prompts.split("\n")
        asked, count = count, max(1, count)  # of no rows: rows of a table, since no batch is empty
        pictures = [_picture(i, side, width, tint) for i in range(count)]
        table = _ours("ranking.table").ScoreTable(
            torch.stack(pictures),
            tuple(texts[i % len(texts)] for i in range(count)),
            tuple(2**62 + i for i in range(count)),
            {"red": torch.arange(float(count)) + tint},
            "red",
        )
        return (table.rows(range(asked)),)


NODE_CLASS_MAPPINGS = {"TestTwin": TestTwin}

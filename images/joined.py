"""Pictures of several kinds and places as one row of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image

from .pictures import PictureFile, Pictures


@dataclass(frozen=True, eq=False)
class JoinedPictures(Pictures):
    """Pictures that are each one of others: (pictures, place among them)."""

    parts: tuple[tuple[Pictures, int], ...]

    @staticmethod
    def of(*rows: Pictures) -> JoinedPictures:
        """Join rows, one after the other."""
        return JoinedPictures(tuple((pictures, i) for pictures in rows for i in range(len(pictures))))

    def __len__(self) -> int:
        return len(self.parts)

    def picture(self, i: int) -> torch.Tensor:
        pictures, place = self.parts[i]
        return pictures.picture(place)

    def size(self, i: int) -> tuple[int, int]:
        pictures, place = self.parts[i]
        return pictures.size(place)

    def rows(self, index: Sequence[int]) -> JoinedPictures:
        return JoinedPictures(tuple(self.parts[i] for i in index))

    def name(self, i: int) -> str:
        pictures, place = self.parts[i]
        return pictures.name(place)

    def key(self, i: int) -> str:
        pictures, place = self.parts[i]
        return pictures.key(place)

    def decode(self, i: int, *, at_least: int = 0, keep_mode: bool = False) -> Image.Image:
        pictures, place = self.parts[i]
        return pictures.decode(place, at_least=at_least, keep_mode=keep_mode)

    def file(self, i: int) -> Path | None:
        pictures, place = self.parts[i]
        return pictures.file(place)

    def listed(self, i: int) -> PictureFile | None:
        pictures, place = self.parts[i]
        return pictures.listed(place)

    def open(self, i: int) -> BinaryIO | None:
        pictures, place = self.parts[i]
        return pictures.open(place)

"""`Pictures`: a row of pictures, in memory or on disk, that scoring, ranking and saving walk one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..loaders.errors import InputError
from .preprocess import to_pil

MAX_STACKED_PIXELS = 2**31  # 24 GiB of float32 RGB: more is a mistake, and no batch a host could use


class Pictures(Protocol):
    """B pictures, each of its own size."""

    def __len__(self) -> int: ...

    def picture(self, i: int) -> torch.Tensor:
        """Picture `i`: float32 (H, W, 3) in [0, 1], on the CPU or where its batch lives."""

    def rows(self, index: Sequence[int]) -> Pictures:
        """Some of them, in the order given."""

    def name(self, i: int) -> str:
        """The file it came from, without its folder; empty for a picture that was never a file."""

    def key(self, i: int) -> str:
        """Hexadecimal SHA-256 of its content: equal pictures, equal keys."""


@dataclass(frozen=True, eq=False)
class TensorPictures:
    """Pictures of one batch: float (B, H, W, 3) in [0, 1]."""

    images: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, i: int) -> torch.Tensor:
        return self.images[i]

    def rows(self, index: Sequence[int]) -> TensorPictures:
        return TensorPictures(self.images[list(index)])

    def name(self, i: int) -> str:
        return ""

    def key(self, i: int) -> str:
        picture = to_pil(self.images[i])
        return hashlib.sha256(b"%dx%d " % picture.size + picture.tobytes()).hexdigest()


def as_pictures(value: torch.Tensor | Pictures) -> Pictures:
    """A batch (B, H, W, 3) as `Pictures`; what is already that, as it is."""
    return TensorPictures(value) if isinstance(value, torch.Tensor) else value


def stacked(pictures: Pictures) -> torch.Tensor:
    """All pictures as one batch: float (B, H, W, 3).

    Raises InputError when their sizes differ, or when no memory could hold them.
    """
    if isinstance(pictures, TensorPictures):
        return pictures.images
    first = pictures.picture(0)
    if len(pictures) * first.shape[0] * first.shape[1] > MAX_STACKED_PIXELS:
        raise InputError("images", len(pictures), "These are too many pictures for one batch; keep fewer with top_k.")
    batch = first.new_empty((len(pictures), *first.shape))
    for i in range(len(pictures)):
        picture = first if i == 0 else pictures.picture(i)
        if picture.shape != first.shape:
            sizes = f"{first.shape[1]} x {first.shape[0]} and {picture.shape[1]} x {picture.shape[0]}"
            raise InputError("images", sizes, "One batch needs pictures of one size.")
        batch[i] = picture
    return batch

"""`Pictures`: a row of pictures, in memory or on disk, that scoring, ranking and saving walk one by one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import torch

from ..core.errors import InputError
from ..core.files import open_regular
from ..core.progress import Progress
from .convert import check_images, to_pil
from .decode import PictureError, decode_file

MAX_STACKED_PIXELS = 2**31  # 24 GiB of float32 RGB: more is a mistake, and no batch a host could use


class Pictures(Protocol):
    """B pictures, each of its own size."""

    def __len__(self) -> int: ...

    def picture(self, i: int) -> torch.Tensor:
        """Picture `i`: float32 (H, W, 3) in [0, 1], on the CPU or where its batch lives."""

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of picture `i`, without reading its pixels."""

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

    def size(self, i: int) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    def rows(self, index: Sequence[int]) -> TensorPictures:
        return TensorPictures(self.images[list(index)])

    def name(self, i: int) -> str:
        return ""

    def key(self, i: int) -> str:
        picture = to_pil(self.images[i])
        return hashlib.sha256(b"%dx%d " % picture.size + picture.tobytes()).hexdigest()


class PictureFile(NamedTuple):
    """A picture's file as it was when its folder was listed.

    Attributes:
        name: path below the folder, with forward slashes.
        height, width: as shown, after the orientation its EXIF asks for.
        bytes, mtime_ns: the file's size and time of change.
    """

    name: str
    height: int
    width: int
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class FilePictures:
    """Pictures in files below one folder, decoded each time they are asked for.

    Transparency is dropped, as ImageReward's own code and ComfyUI's Load Image drop it: what counts are the
    colours below it. `picture` and `key` raise PictureError for a file that is gone or broken.
    """

    root: Path
    files: tuple[PictureFile, ...]
    keys: dict[PictureFile, str] = field(default_factory=dict, repr=False)  # those known; shared by all rows

    def __len__(self) -> int:
        return len(self.files)

    def path(self, i: int) -> Path:
        return self.root / self.files[i].name

    def open(self, i: int) -> BinaryIO:
        """Open the file of picture `i`. Raises PictureError for a pipe, and a link that leads out of the folder."""
        try:
            return open_regular(self._inside(i))
        except OSError as e:
            raise PictureError(f"cannot be read ({e.strerror or e})") from e

    def _inside(self, i: int) -> Path:
        """Where picture `i` is now: its file may have been changed for a link since the folder was read."""
        path, root = self.path(i), os.path.realpath(self.root)
        real = os.path.realpath(path)
        if os.path.commonpath([real, root]) != root:
            raise PictureError("is a link that leads out of the folder")
        return path

    def size(self, i: int) -> tuple[int, int]:
        return self.files[i].height, self.files[i].width

    def pixels(self, i: int) -> np.ndarray:
        """Picture `i` as 8-bit RGB (H, W, 3)."""
        array = np.array(decode_file(self._inside(i)))  # a copy: what Pillow lends is read-only
        if array.shape[:2] != self.size(i):
            raise PictureError("was changed since its folder was read")
        return array

    def picture(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.pixels(i)).float() / 255

    def rows(self, index: Sequence[int]) -> FilePictures:
        return FilePictures(self.root, tuple(self.files[i] for i in index), self.keys)

    def name(self, i: int) -> str:
        return self.files[i].name.rpartition("/")[2]

    def key(self, i: int) -> str:
        """Hexadecimal SHA-256 of the file's bytes. Read once, then remembered."""
        file = self.files[i]
        if file not in self.keys:
            self.keys[file] = _sha256(self._inside(i))
        return self.keys[file]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while piece := file.read(2**20):
                digest.update(piece)
    except OSError as e:
        raise PictureError(f"cannot be read ({e.strerror or e})") from e
    return digest.hexdigest()


def as_pictures(value: torch.Tensor | Pictures) -> Pictures:
    """A batch (B, H, W, 3) as `Pictures`; what is already that, as it is."""
    return TensorPictures(value) if isinstance(value, torch.Tensor) else value


def checked_pictures(value: torch.Tensor | Pictures, name: str = "images") -> Pictures:
    """Return the same of a batch that is one. Raises InputError, for the input `name`, as `check_images` does."""
    return as_pictures(check_images(value, name) if isinstance(value, torch.Tensor) else value)


def picture_of(pictures: Pictures, i: int) -> torch.Tensor:
    """Picture `i`. Raises InputError naming its file where that was changed or has gone."""
    try:
        return pictures.picture(i)
    except PictureError as e:
        raise InputError("images", pictures.name(i), f"The file of a picture {e}; read its folder again.") from e


def stacked(pictures: Pictures, progress: Progress | None = None) -> torch.Tensor:
    """All pictures as one batch: float (B, H, W, 3).

    `progress` counts the files read; what it raises stops the reading.
    Raises InputError when their sizes differ, when no memory could hold them, or for a file that cannot be read.
    """
    if isinstance(pictures, TensorPictures):
        return pictures.images
    height, width = pictures.size(0)
    if len(pictures) * height * width > MAX_STACKED_PIXELS:
        raise InputError("images", len(pictures), "These are too many pictures for one batch; keep fewer with top_k.")
    sizes = (pictures.size(i) for i in range(len(pictures)))
    odd = next((size for size in sizes if size != (height, width)), None)
    if odd is not None:
        found = f"{width} x {height} and {odd[1]} x {odd[0]}"
        raise InputError("images", found, "One batch needs pictures of one size.")
    progress = progress or Progress()
    progress.phase("reading", len(pictures))
    batch = torch.empty(len(pictures), height, width, 3)
    for i in range(len(pictures)):
        batch[i] = picture_of(pictures, i)
        progress.advance()
    return batch

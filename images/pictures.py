"""`Pictures`: a row of pictures, in memory or on disk, that scoring, ranking and saving walk one by one."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..core.errors import InputError
from ..core.files import open_regular
from ..core.progress import Progress
from .convert import check_images, to_pil
from .decode import PictureError, decode_file

MAX_STACKED_PIXELS = 2**31  # 24 GiB of float32 RGB: more is a mistake, and no batch a host could use


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


class Pictures(ABC):
    """B pictures, each of its own size. What has no files and is no batch needs the abstract methods alone."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, i: int) -> torch.Tensor:
        """Return picture `i`: float32 (H, W, 3) in [0, 1], on the CPU or where its batch lives."""

    @abstractmethod
    def size(self, i: int) -> tuple[int, int]:
        """Return (H, W) of picture `i`, without reading its pixels."""

    @abstractmethod
    def rows(self, index: Sequence[int]) -> Pictures:
        """Return some of them, in the order given."""

    @abstractmethod
    def name(self, i: int) -> str:
        """Return the name of its file, without its folder; empty for a picture that was never a file."""

    @abstractmethod
    def key(self, i: int) -> str:
        """Return the hexadecimal SHA-256 of its content: equal pictures, equal keys."""

    def decode(self, i: int, *, at_least: int = 0, keep_mode: bool = False) -> Image.Image:
        """Return picture `i` as 8 bits a channel; the options are those of `decode_file`, for files."""
        return to_pil(self.picture(i))

    def batch(self) -> torch.Tensor | None:
        """Return all of them as the one batch (B, H, W, 3) that they are; None where they are none."""
        return None

    def file(self, i: int) -> Path | None:
        """Return where its file was when its folder was listed; None for a picture in memory."""
        return None

    def listed(self, i: int) -> PictureFile | None:
        """Return what its file was when its folder was listed; None for a picture in memory."""
        return None

    def open(self, i: int) -> BinaryIO | None:
        """Open its file to read its bytes; None for a picture in memory."""
        return None

    def content_key(self, i: int) -> str | None:
        """Return `key` where it is known without reading anything; else None."""
        return None

    @property
    def marks(self) -> str:
        """What a person said of some of them before they were scored, as `ranking/marks.py` reads it."""
        return ""

    def learn_key(self, i: int, key: str) -> None:  # noqa: B027  a picture in memory has nothing to learn
        """Take over the key of a file that has not changed since the key was computed."""


@dataclass(frozen=True, eq=False)
class TensorPictures(Pictures):
    """Pictures of one batch: float (B, H, W, 3) in [0, 1]."""

    images: torch.Tensor
    keys: dict[int, str] = field(default_factory=dict, repr=False)  # those known, which go where their rows go

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, i: int) -> torch.Tensor:
        return self.images[i]

    def size(self, i: int) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    def rows(self, index: Sequence[int]) -> TensorPictures:
        index = list(index)
        return TensorPictures(self.images[index], {k: self.keys[i] for k, i in enumerate(index) if i in self.keys})

    def name(self, i: int) -> str:
        return ""

    def batch(self) -> torch.Tensor:
        return self.images

    def key(self, i: int) -> str:
        if i not in self.keys:  # some 15 ms of a picture of 1024 pixels, and several nodes ask for it
            picture = to_pil(self.images[i])
            self.keys[i] = hashlib.sha256(b"%dx%d " % picture.size + picture.tobytes()).hexdigest()
        return self.keys[i]


@dataclass(frozen=True, eq=False)
class FilePictures(Pictures):
    """Pictures in files below one folder, decoded each time they are asked for.

    Transparency is dropped, as ImageReward's own code and ComfyUI's Load Image drop it: what counts are the
    colours below it. `picture` and `key` raise PictureError for a file that is gone or broken.
    """

    root: Path
    files: tuple[PictureFile, ...]
    keys: dict[PictureFile, str] = field(default_factory=dict, repr=False)  # those known; shared by all rows
    said: str = field(default="", repr=False)  # marks by hand, by content

    def __len__(self) -> int:
        return len(self.files)

    def file(self, i: int) -> Path:
        return self.root / self.files[i].name

    def listed(self, i: int) -> PictureFile:
        return self.files[i]

    def open(self, i: int) -> BinaryIO:
        """Open the file of picture `i`. Raises PictureError for a pipe, and a link that leads out of the folder."""
        try:
            return open_regular(self._inside(i))
        except OSError as e:
            raise PictureError(f"cannot be read ({e.strerror or e})") from e

    def _inside(self, i: int) -> Path:
        """Return where picture `i` is now: its file may have been changed for a link since the folder was read."""
        path, root = self.file(i), os.path.realpath(self.root)
        real = os.path.realpath(path)
        if os.path.commonpath([real, root]) != root:
            raise PictureError("is a link that leads out of the folder")
        return path

    def size(self, i: int) -> tuple[int, int]:
        return self.files[i].height, self.files[i].width

    def decode(self, i: int, *, at_least: int = 0, keep_mode: bool = False) -> Image.Image:
        return decode_file(self._inside(i), at_least=at_least, keep_mode=keep_mode)

    def pixels(self, i: int) -> np.ndarray:
        """Return picture `i` as 8-bit RGB (H, W, 3)."""
        array = np.array(self.decode(i))  # a copy: what Pillow lends is read-only
        if array.shape[:2] != self.size(i):
            raise PictureError("was changed since its folder was read")
        return array

    def picture(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.pixels(i)).float() / 255

    def rows(self, index: Sequence[int]) -> FilePictures:
        return replace(self, files=tuple(self.files[i] for i in index))

    def name(self, i: int) -> str:
        return self.files[i].name.rpartition("/")[2]

    def key(self, i: int) -> str:
        """Return the hexadecimal SHA-256 of the file's bytes. Read once, then remembered."""
        file = self.files[i]
        if file not in self.keys:
            self.keys[file] = _sha256(self._inside(i))
        return self.keys[file]

    def content_key(self, i: int) -> str | None:
        return self.keys.get(self.files[i])

    @property
    def marks(self) -> str:
        return self.said

    def learn_key(self, i: int, key: str) -> None:
        self.keys[self.files[i]] = key


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while piece := file.read(2**20):
                digest.update(piece)
    except OSError as e:
        raise PictureError(f"cannot be read ({e.strerror or e})") from e
    return digest.hexdigest()


def as_pictures(value: torch.Tensor | Pictures, name: str = "images") -> Pictures:
    """Return a batch (B, H, W, 3) as `Pictures`; what is already that, as it is.

    Raises InputError for what is neither, saying what is wrong with the input `name`.
    """
    return value if isinstance(value, Pictures) else TensorPictures(check_images(value, name))


def picture_of(pictures: Pictures, i: int) -> torch.Tensor:
    """Return picture `i`. Raises InputError naming its file where that was changed or has gone."""
    try:
        return pictures.picture(i)
    except PictureError as e:
        raise InputError("images", pictures.name(i), f"The file of a picture {e}; read its folder again.") from e


def stacked(
    pictures: Pictures,
    progress: Progress | None = None,
    fit: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Stack all pictures into one batch: float (B, H, W, 3), H and W the first one's.

    `progress` counts the files read; what it raises stops the reading. `fit` brings a picture to that size.
    Raises InputError when their sizes differ and nothing fits them, when no memory could hold them, or for a file that
    cannot be read.
    """
    whole = pictures.batch()
    if whole is not None:
        return whole
    height, width = pictures.size(0)
    if len(pictures) * height * width > MAX_STACKED_PIXELS:
        raise InputError("images", len(pictures), "These are too many pictures for one batch; keep fewer with top_k.")
    sizes = (pictures.size(i) for i in range(len(pictures)))
    odd = next((size for size in sizes if size != (height, width)), None)
    if odd is not None and fit is None:
        found = f"{width} x {height} and {odd[1]} x {odd[0]}"
        raise InputError("images", found, "One batch needs pictures of one size.")
    progress = progress or Progress()
    progress.phase("reading", len(pictures))
    batch = torch.empty(len(pictures), height, width, 3)
    for i in range(len(pictures)):
        picture = picture_of(pictures, i)
        batch[i] = picture if fit is None else fit(picture)
        progress.advance()
    return batch

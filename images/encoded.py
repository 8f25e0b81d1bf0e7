"""Pictures whose files are held in memory, as read from an archive or a table of bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import torch
from PIL import Image

from .convert import from_pil
from .decode import check_size, decode_bytes, open_bytes, shown_size
from .pictures import Pictures
from .png import SIGNATURE, read_png
from .prompts import KEYWORDS, SHEET_KEY, exif_texts


class EncodedFile(NamedTuple):
    """A picture's file, and its size as shown."""

    name: str
    data: bytes
    height: int
    width: int


def read_encoded(name: str, data: bytes) -> tuple[EncodedFile, dict[str, str]]:
    """Read the size and the texts of a picture's file, without its pixels. Raises PictureError and PngError."""
    if data.startswith(SIGNATURE):
        header = read_png(io.BytesIO(data), (*KEYWORDS, SHEET_KEY))
        check_size(header.width, header.height)
        if not header.exif and not header.animated:
            return EncodedFile(name, data, header.height, header.width), header.texts
    with open_bytes(data) as picture:
        return EncodedFile(name, data, *shown_size(picture)), exif_texts(picture)


@dataclass(frozen=True, eq=False)
class EncodedPictures(Pictures):
    """Pictures decoded from memory each time they are asked for. Raises PictureError for one that is broken."""

    files: tuple[EncodedFile, ...]

    def __len__(self) -> int:
        return len(self.files)

    def picture(self, i: int) -> torch.Tensor:
        return from_pil(self.decode(i))[0]

    def size(self, i: int) -> tuple[int, int]:
        return self.files[i].height, self.files[i].width

    def rows(self, index: Sequence[int]) -> EncodedPictures:
        return EncodedPictures(tuple(self.files[i] for i in index))

    def name(self, i: int) -> str:
        return self.files[i].name

    def key(self, i: int) -> str:
        return hashlib.sha256(self.files[i].data).hexdigest()

    def decode(self, i: int, *, at_least: int = 0, keep_mode: bool = False) -> Image.Image:
        return decode_bytes(self.files[i].data, at_least=at_least, keep_mode=keep_mode)

    def open(self, i: int) -> BinaryIO:
        return io.BytesIO(self.files[i].data)

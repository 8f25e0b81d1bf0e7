"""The pictures of grids on disk: each under a name made of everything that it was sampled from.

A file is taken only after its pixels have been compared with the digest stored beside them; one that is damaged, or was
put there by somebody else, is sampled again. The folder is bounded: what was not used for the longest time goes first.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...core.errors import TastemakerError
from ...core.files import own_folder, parse_json, read_own, sweep, unwritable, write_atomic
from ...images.convert import to_pil
from ...images.decode import decode_bytes
from ...images.limits import MAX_PICTURE_BYTES
from ...images.pictures import FilePictures, PictureFile
from ...images.png import read_png
from ...loaders.model import DiffusionModel
from ...sampling.settings import SampleOptions, SampleSettings

_VERSION = 1  # changes with what a picture of given settings looks like
_RECORD = "tastemaker_cell"  # the PNG text with a cell's name and its pixels' digest
MOST_BYTES = 4 * 2**30


def cell_key(
    model: DiffusionModel,
    settings: SampleSettings,
    size: tuple[int, int],
    prompt: str,
    negative_prompt: str,
    seed: int,
    options: SampleOptions,
) -> str:
    """Return 64 hexadecimal digits of everything a picture is sampled from; `settings` name their scheduler."""
    rare = {name: value for name, value in asdict(options).items() if name != "at_once"}
    fields = {**asdict(settings), "height": size[0], "width": size[1]}
    parts = [_VERSION, model.fingerprint, str(model.dtype), dict(model.scheduler_config), fields, rare]
    text = json.dumps([*parts, prompt, negative_prompt, seed], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


class CellCache:
    """A folder of sampled pictures. Its methods raise TastemakerError where it cannot be written."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self.folder = Path(os.path.realpath(folder))  # a link above it is the user's; one inside is nobody's

    def find(self, key: str) -> PictureFile | None:
        """Return a picture's file; None where there is none, or one that is not what it says."""
        path = self._path(key)
        try:
            data = read_own(path, MAX_PICTURE_BYTES)
            record = parse_json(read_png(io.BytesIO(data), (_RECORD,)).texts[_RECORD])
            picture = decode_bytes(data)
        except (OSError, KeyError, ValueError):  # PngError and PictureError are ValueErrors
            return None
        if record != {"key": key, "pixels": _pixels(picture)}:
            return None
        with suppress(OSError):
            os.utime(path)  # used last; what trim goes by
        return self._file(path, picture.size, len(data))

    def store(self, key: str, image: torch.Tensor, texts: Mapping[str, str]) -> PictureFile:
        """Keep a picture (H, W, 3) in [0, 1], with PNG texts for those who open it elsewhere."""
        picture, info, data = to_pil(image), PngInfo(), io.BytesIO()
        for name, text in texts.items():
            info.add_itxt(name, text)
        info.add_text(_RECORD, json.dumps({"key": key, "pixels": _pixels(picture)}))
        picture.save(data, "PNG", pnginfo=info, compress_level=4)
        path = self._path(key)
        try:
            own_folder(self.folder)
            write_atomic(path, data.getvalue(), durable=False)  # it can be made again
        except OSError as e:
            why = f"The grid's pictures cannot be kept ({unwritable(e)})."
            raise TastemakerError(f"{why} Make room in ComfyUI's user folder; then run again.") from e
        return self._file(path, picture.size, len(data.getvalue()))

    def trim(self, keep: Collection[str]) -> None:
        """Remove what was used longest ago until the folder is within its bound; never the `keep` files by name."""
        sweep(self.folder)
        with suppress(OSError), os.scandir(self.folder) as entries:
            found = [(e.stat(follow_symlinks=False), e) for e in entries if e.name.endswith(".png")]
            total = sum(stat.st_size for stat, _ in found)
            for stat, entry in sorted(found, key=lambda one: one[0].st_mtime_ns):
                if total <= self._most:
                    break
                if entry.name not in keep:
                    os.unlink(entry.path)
                    total -= stat.st_size

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:40]}.png"

    def _file(self, path: Path, size: tuple[int, int], count: int) -> PictureFile:
        return PictureFile(path.name, size[1], size[0], count, 0)


def _pixels(picture: Image.Image) -> str:
    return hashlib.sha256(b"%dx%d " % picture.size + picture.convert("RGB").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class CellPictures(FilePictures):
    """Pictures of a grid; each is called by its cell's settings."""

    labels: tuple[str, ...] = ()

    def name(self, i: int) -> str:
        return self.labels[i]

    def rows(self, index: Any) -> CellPictures:
        files, labels = (tuple(column[i] for i in index) for column in (self.files, self.labels))
        return replace(self, files=files, labels=labels)

"""Where the pictures of an evaluation come from: sampled into a folder, or there already."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..core.progress import Place, Progress, Scaled, stay
from ..images.convert import to_pil
from ..images.decode import PictureError, check_file, open_file, shown_size
from ..images.pictures import FilePictures, PictureFile, Pictures
from ..loaders.model import DiffusionModel
from ..sampling.loop import sample
from ..sampling.settings import SampleOptions, SampleSettings
from .blocks import written

AT_ONCE = 16  # pictures sampled between two savings; divides BLOCK, so that shares do not change who is together


class Opened(NamedTuple):
    """Some pictures of a set: those that are there, their places in it, and (place, why) of the rest."""

    pictures: Pictures
    kept: tuple[int, ...]
    broken: tuple[tuple[int, str], ...]


class Source(Protocol):
    """A set of pictures that is opened a block at a time."""

    def __len__(self) -> int: ...

    def open(self, places: Sequence[int]) -> Opened: ...

    def identity(self) -> dict[str, Any]:
        """JSON that says which pictures these are."""


@dataclass(frozen=True, eq=False)
class GivenPictures:
    """Pictures that are there: of a batch, or of files that a folder's reading found whole."""

    pictures: Pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def open(self, places: Sequence[int]) -> Opened:
        return Opened(self.pictures.rows(places), tuple(places), ())

    def identity(self) -> dict[str, Any]:
        """By name, size and time for files; by content for a batch."""
        digest = hashlib.sha256()
        for i in range(len(self.pictures)):
            file = self.pictures.listed(i)
            known = self.pictures.key(i) if file is None else f"{file.name!r}:{file.bytes}:{file.mtime_ns}\n"
            digest.update(known.encode())
        return {"kind": "pictures", "count": len(self), "digest": digest.hexdigest()[:16]}


@dataclass(frozen=True, eq=False)
class NamedFiles:
    """Files that metadata names; one that is missing or broken is named, and the rest goes on."""

    root: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def open(self, places: Sequence[int]) -> Opened:
        files, kept, broken = [], [], []
        for i in places:
            try:
                files.append(picture_file(self.root, self.names[i]))
                kept.append(i)
            except PictureError as e:
                broken.append((i, str(e)))
        return Opened(FilePictures(self.root, tuple(files)), tuple(kept), tuple(broken))

    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for name in self.names:
            try:
                size, changed = check_file(self.root / name)
            except PictureError:
                size = changed = 0
            digest.update(f"{name!r}:{size}:{changed}\n".encode())
        return {"kind": "files", "count": len(self), "digest": digest.hexdigest()[:16]}


def picture_file(root: Path, name: str) -> PictureFile:
    """A picture's file as it is now, without its pixels. Raises PictureError."""
    size, changed = check_file(root / name)
    with open_file(root / name) as picture:
        height, width = shown_size(picture)
    return PictureFile(name, height, width, size, changed)


@dataclass(frozen=True, eq=False)
class SampledPictures:
    """Pictures that a model makes, kept as PNG files so that stopping loses at most the last few.

    Attributes:
        folder: where they go.
        prompts: one for each picture; what an unconditional model is compared with, which it does not read.
        seeds: one for each picture; picture i is made from `seeds[i]` alone.
    """

    model: DiffusionModel
    folder: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: SampleSettings
    options: SampleOptions | None = None
    negative_prompt: str = ""
    place: Place = stay

    def __len__(self) -> int:
        return len(self.prompts)

    def name(self, i: int) -> str:
        return f"{i:06d}.png"

    def missing(self, places: Sequence[int]) -> list[int]:
        """Those of some pictures that are not made yet."""
        return [i for i in places if not (self.folder / self.name(i)).is_file()]

    def make(self, places: Sequence[int], progress: Progress | None = None) -> None:
        """Make those that are missing; `progress` counts them.

        Always the same ones are sampled together, those that are there already too: what else is in a batch moves the
        last bits of a picture, and a run that was stopped is to end as one that was not.
        """
        progress = progress or Progress()
        progress.phase("sampling", len(self.missing(places)))
        for first in range(0, len(places), AT_ONCE):
            part = list(places[first : first + AT_ONCE])
            left = self.missing(part)
            if not left:
                continue
            images = dict(zip(part, self._sampled(part, Scaled(progress, len(left))), strict=True))
            for i in left:
                written(self.folder / self.name(i), self._file(i, images[i]))

    def _sampled(self, part: Sequence[int], progress: Progress) -> torch.Tensor:
        return sample(
            self.model,
            [self.prompts[i] for i in part] if self.model.conditional else "",
            self.settings,
            negative_prompt=self.negative_prompt,
            seeds=[self.seeds[i] for i in part],
            options=self.options,
            progress=progress,
            place=self.place,
        ).images

    def _file(self, i: int, image: torch.Tensor) -> bytes:
        about = PngInfo()
        record = {"prompt": self.prompts[i], "seed": self.seeds[i], "model": self.model.name}
        about.add_text("tastemaker_evaluation", json.dumps(record, allow_nan=False))
        data = io.BytesIO()
        picture: Image.Image = to_pil(image)
        picture.save(data, "PNG", pnginfo=about, compress_level=4)
        return data.getvalue()

    def open(self, places: Sequence[int]) -> Opened:
        return NamedFiles(self.folder, tuple(self.name(i) for i in range(len(self)))).open(places)

    def identity(self) -> dict[str, Any]:
        loras = [[a.lora.fingerprint, a.strength, a.strength_text] for a in self.model.loras]
        return {
            "kind": "sampled",
            "model": self.model.fingerprint,
            "loras": loras,
            "dtype": str(self.model.dtype),
            "sampling": asdict(self.settings),
            "options": None if self.options is None else asdict(self.options),
            "negative_prompt": self.negative_prompt,
            "first_seed": self.seeds[0],
        }

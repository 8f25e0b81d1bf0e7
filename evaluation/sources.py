"""Where the pictures of an evaluation come from: sampled into a folder, or there already."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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
from .blocks import write_file
from .layouts import PromptRow, is_plain
from .settings import EvaluationSettings

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
AT_ONCE = 16  # pictures sampled between two savings; divides BLOCK, so that shares do not change who is together


class OpenedPictures(NamedTuple):
    """Some pictures of a set: those that are there, their indices in it, and (index, why) of the rest."""

    pictures: Pictures
    kept: tuple[int, ...]
    broken: tuple[tuple[int, str], ...]


class Source(Protocol):
    """A set of pictures that is opened a block at a time."""

    def __len__(self) -> int: ...

    def open(self, indices: Sequence[int]) -> OpenedPictures: ...

    def identity(self) -> dict[str, Any]:
        """Return JSON that says which pictures these are."""


@dataclass(frozen=True, eq=False)
class GivenPictures:
    """Pictures that are there: of a batch, or of files that a folder's reading found whole."""

    pictures: Pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def open(self, indices: Sequence[int]) -> OpenedPictures:
        return OpenedPictures(self.pictures.rows(indices), tuple(indices), ())

    def identity(self) -> dict[str, Any]:
        """Return JSON: by name, size and time for files; by content for a batch."""
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

    def open(self, indices: Sequence[int]) -> OpenedPictures:
        files, kept, broken = [], [], []
        for i in indices:
            try:
                files.append(picture_file(self.root, self.names[i]))
                kept.append(i)
            except PictureError as e:
                broken.append((i, str(e)))
        return OpenedPictures(FilePictures(self.root, tuple(files)), tuple(kept), tuple(broken))

    def identity(self) -> dict[str, Any]:
        """Return JSON: by name, size and time."""
        digest = hashlib.sha256()
        for name in self.names:
            try:
                size, changed = check_file(self.root / name)
            except PictureError:
                size = changed = 0
            digest.update(f"{name!r}:{size}:{changed}\n".encode())
        return {"kind": "files", "count": len(self), "digest": digest.hexdigest()[:16]}


def picture_file(root: Path, name: str) -> PictureFile:
    """Return a picture's file as it is now, without its pixels. Raises PictureError."""
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

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Return those of some pictures that are not made yet."""
        return [i for i in indices if not (self.folder / self.name(i)).is_file()]

    def make(self, indices: Sequence[int], progress: Progress | None = None) -> None:
        """Sample those that are missing; `progress` counts them.

        Always the same ones are sampled together, those that are there already too: what else is in a batch moves the
        last bits of a picture, and a run that was stopped is to end as one that was not.
        """
        progress = progress or Progress()
        progress.phase("sampling", len(self.missing(indices)))
        for first in range(0, len(indices), AT_ONCE):
            part = list(indices[first : first + AT_ONCE])
            left = self.missing(part)
            if not left:
                continue
            images = dict(zip(part, self._sample(part, Scaled(progress, len(left))), strict=True))
            for i in left:
                write_file(self.folder / self.name(i), self._png(i, images[i]))

    def _sample(self, part: Sequence[int], progress: Progress) -> torch.Tensor:
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

    def _png(self, i: int, image: torch.Tensor) -> bytes:
        about = PngInfo()
        record = {"prompt": self.prompts[i], "seed": self.seeds[i], "model": self.model.name}
        about.add_text("tastemaker_evaluation", json.dumps(record, allow_nan=False))
        data = io.BytesIO()
        picture: Image.Image = to_pil(image)
        picture.save(data, "PNG", pnginfo=about, compress_level=4)
        return data.getvalue()

    def open(self, indices: Sequence[int]) -> OpenedPictures:
        return NamedFiles(self.folder, tuple(self.name(i) for i in range(len(self)))).open(indices)

    def identity(self) -> dict[str, Any]:
        """Return JSON: the model and all that its pictures depend on."""
        loras = [[a.lora.fingerprint, a.strength, a.strength_text] for a in self.model.loras]
        return {
            "kind": "sampled",
            "model": self.model.fingerprint,
            "loras": loras,
            "dtype": str(self.model.dtype),
            "sampling": _identity_of(self.settings),
            "options": None if self.options is None else _identity_of(self.options),
            "negative_prompt": self.negative_prompt,
            "first_seed": self.seeds[0],
        }


# Fields that are newer than evaluations that people have: at their defaults they are left out of an identity, which
# names a folder in the Evaluate node, so that those go on.
_NEWER = ("timestep_spacing",)


def _identity_of(settings: SampleSettings | SampleOptions) -> dict[str, Any]:
    default = type(settings)()
    return {k: v for k, v in asdict(settings).items() if k not in _NEWER or v != getattr(default, k)}


def with_defaults(identity: dict[str, Any]) -> dict[str, Any]:
    """Fill in the settings that an evaluation's identity leaves out, as one of an older version does: it sampled so."""
    source = identity.get("source")
    if not isinstance(source, dict):
        return identity
    kinds: dict[str, SampleSettings | SampleOptions] = {"sampling": SampleSettings(), "options": SampleOptions()}
    stated = {name: source[name] for name in kinds if isinstance(source.get(name), dict)}
    return {**identity, "source": {**source, **{n: {**asdict(kinds[n]), **v} for n, v in stated.items()}}}


def sampled_pictures(
    model: DiffusionModel,
    rows: Sequence[PromptRow],
    settings: EvaluationSettings,
    sampling: SampleSettings,
    folder: Path,
    negative_prompt: str = "",
    **more: Any,
) -> SampledPictures:
    """Return the pictures of a run to sample: `images_per_prompt` of each prompt, from seeds that count on."""
    prompts = tuple(row.prompt for row in rows for _ in range(settings.images_per_prompt))
    seeds = tuple(range(settings.seed, settings.seed + len(prompts)))
    source = SampledPictures(model, folder / "pictures", prompts, seeds, sampling)
    return replace(source, negative_prompt=negative_prompt, **more)


def finished_names(rows: Sequence[PromptRow], each: int, there: Callable[[str], bool]) -> tuple[str, ...]:
    """Name the files of finished pictures: by the protocol's own names, by the ids, or by number (`000000.png`).

    One that is nowhere keeps its number's name, and reading it says that it is missing.
    """
    names = []
    for i in range(len(rows) * each):
        row = rows[i // each]
        stems = [f"{i:06d}"]
        if each == 1:
            stems = [
                *([row.picture.rsplit(".", 1)[0]] if row.picture else []),
                *([f"{row.category}/{row.id}"] if is_plain(row.category) else []),
                row.id,
                *stems,
            ]
            stems += [row.picture.rsplit("/", 1)[-1].rsplit(".", 1)[0]] if row.picture else []
        possible = (f"{stem}{ending}" for stem in stems for ending in _ENDINGS)
        names.append(next(filter(there, possible), f"{i:06d}.png"))
    return tuple(names)

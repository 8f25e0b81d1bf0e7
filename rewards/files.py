"""The official files that a reward is read from: their names, where to get them, where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ModelFileError

_PLACE = "ComfyUI/models/rewards"


@dataclass(frozen=True)
class RewardFile:
    """One file or folder of a reward.

    Attributes:
        names: what it is called in `models/rewards`, best first; a folder's name stands for transformers' layout.
        command: downloads it there.
        gigabytes: its size.
    """

    names: tuple[str, ...]
    command: str
    gigabytes: float

    def find(self, folders: Sequence[Path]) -> Path | None:
        """Return where it is in one of the folders; None where it is not."""
        places = (folder / name for name in self.names for folder in folders)
        return next((place for place in places if place.is_file() or (place / "config.json").is_file()), None)


def from_hub(repository: str, *files: str, folder: str = "") -> str:
    """Return the command that downloads files of a Hugging Face repository, into a `folder` of their own."""
    return " ".join(["hf download", repository, *files, "--local-dir", f"{_PLACE}/{folder}".rstrip("/")])


def from_web(address: str, name: str) -> str:
    """Return the command that downloads one file from an address."""
    return f'curl -L -o "{_PLACE}/{name}" "{address}"'


def find_files(name: str, files: Sequence[RewardFile], source: Path | str | Sequence[Path] | None) -> list[Path]:
    """Return where the files of the reward `name` are.

    `source` is a folder or several; the first may be the first file itself, and the others are looked for beside
    it too.
    Raises ModelFileError naming what is not there and the command that gets it.
    """
    places = [Path(source)] if isinstance(source, (str, Path)) else list(source or ())
    found: list[Path] = []
    left = list(files)
    if places and (places[0].is_file() or (places[0] / "config.json").is_file()):
        found, left, places = [places[0]], left[1:], [places[0].parent, *places[1:]]
    elif isinstance(source, (str, Path)) and not places[0].exists():
        raise ModelFileError(f"{name}: there is no {places[0].name} in {places[0].parent.name}.")
    for file in left:
        place = file.find(places)
        if place is None:
            raise ModelFileError(
                f"{name} needs {' or '.join(file.names)} in models/rewards, which is not there. To get it "
                f"({file.gigabytes:g} GB), run this beside the ComfyUI folder: {file.command}\n"
            )
        found.append(place)
    return found

"""What lies in a model folder: which files count, and which no model folder holds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ...core.errors import ModelFileError
from ..formats.limits import MAX_DEPTH, MAX_FILES

# A .py that the index does not name is only text here: nothing imports it, and older DDPMs come with one.
_CODE = (".pyc", ".pyd", ".pyw", ".pyz", ".so", ".dll", ".dylib")


def model_files(folder: Path) -> list[Path]:
    """Every file in a model folder, sorted, in sub-folders too.

    Folders whose names begin with a dot (`.git`, and the `.cache` that downloads leave) are not looked
    into: nothing in them is ever read. A link that leads out of the folder is refused, except from a
    snapshot of the Hugging Face cache to that cache's own `blobs`.

    Raises ModelFileError for program code, for what is no plain file, and for more than any model has.
    """
    try:
        folder.resolve(strict=True)
    except (OSError, RuntimeError) as e:
        raise ModelFileError(f"{folder.name} cannot be read: it is a link to nothing.") from e
    found: list[Path] = []
    try:
        places = _walk(folder)
    except OSError as e:
        raise ModelFileError(f"{folder.name} cannot be read ({e.strerror}).") from e
    for place, names in places:
        for name in names:
            path = place / name
            if not name.isprintable() or not _is_utf8(name):
                raise ModelFileError(f"{folder.name} holds a file whose name is no text: {os.fsencode(name)!r}.")
            if path.suffix.lower() in _CODE:
                raise ModelFileError(
                    f"{folder.name} holds program code ({name}). Models are weights and configs only; "
                    "remove that file if you trust the rest."
                )
            try:
                regular = stat.S_ISREG(path.stat().st_mode)
                outside = path.is_symlink() and leads_out(path, folder)
            except (OSError, RuntimeError) as e:  # a link to nothing, or to itself
                raise ModelFileError(f"{folder.name} holds {name}, which is no plain file.") from e
            if outside:
                raise ModelFileError(f"{folder.name} holds a link that leads out of it ({name}). Copy the file itself.")
            if not regular:
                raise ModelFileError(f"{folder.name} holds {name}, which is no plain file.")
            found.append(path)
            if len(found) > MAX_FILES:
                raise ModelFileError(f"{folder.name} holds more than {MAX_FILES} files: no model folder does.")
    return sorted(found)


def leads_out(path: Path, folder: Path) -> bool:
    """Return whether a path in a folder leads out of it by a link, the Hugging Face cache's own links apart."""
    root = folder.resolve()
    homes = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    return not any(path.resolve().is_relative_to(home) for home in homes)


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _walk(folder: Path) -> list[tuple[Path, list[str]]]:
    """(folder, names of what is in it that is no folder) of every folder looked into."""
    seen: list[tuple[Path, list[str]]] = []
    left = [(folder, 0)]
    while left:
        place, depth = left.pop()
        if depth > MAX_DEPTH or len(seen) > MAX_FILES:
            raise ModelFileError(f"{folder.name} holds more folders than any model does.")
        names: list[str] = []
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        left.append((Path(entry.path), depth + 1))
                elif len(names) <= MAX_FILES:
                    names.append(entry.name)
        seen.append((place, names))
    return seen


def part_folder(folder: Path, name: str) -> Path:
    """Where a component's files are: its own folder, or the model folder in the oldest DDPMs."""
    own = folder / name
    return own if own.is_dir() else folder

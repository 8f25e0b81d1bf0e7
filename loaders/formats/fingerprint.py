"""A short name for the contents of files: equal contents, equal name, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ...core.errors import ModelFileError
from ...core.files import open_regular
from ..folder.files import model_files

_WHOLE = 64 * 2**20  # files up to this size are hashed whole
_PIECE, _PIECES = 2**18, 64


def fingerprint(folder: Path, paths: Iterable[Path]) -> str:
    """Sixteen hex digits from names, sizes and contents.

    Of files over 64 MiB the size and 64 evenly spaced pieces of 256 KiB count: enough to tell
    checkpoints apart without reading seven gigabytes.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}\n".encode())
        with open_regular(path) as file:
            if size <= _WHOLE:
                digest.update(file.read())
                continue
            for i in range(_PIECES):
                file.seek((size - _PIECE) * i // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()[:16]


def varied(fingerprint: str, *settings: object) -> str:
    """Return another fingerprint for the same files under other settings."""
    return hashlib.sha256("\n".join([fingerprint, *map(repr, settings)]).encode()).hexdigest()[:16]


def changes(path: Path) -> str:
    """Sixteen hex digits that change when a model's file, or a file in its folder, changes on disk.

    From names, sizes and times: nothing is read, and nothing is refused here.
    """
    try:
        files = model_files(path) if path.is_dir() else [path]
        stats = [(file.relative_to(path.parent).as_posix(), file.stat()) for file in files]
    except (ModelFileError, OSError) as e:  # loading says what is wrong
        return hashlib.sha256(str(e).encode()).hexdigest()[:16]
    seen = "".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}\n" for name, stat in stats)
    return hashlib.sha256(seen.encode()).hexdigest()[:16]

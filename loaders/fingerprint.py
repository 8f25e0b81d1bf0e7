"""A short name for the contents of files: equal contents, equal name, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

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
        with path.open("rb") as file:
            if size <= _WHOLE:
                digest.update(file.read())
                continue
            for i in range(_PIECES):
                file.seek((size - _PIECE) * i // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()[:16]

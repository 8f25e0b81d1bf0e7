"""Opening files that are nothing but files, strict JSON, and writing so that a reader never sees half a file."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes. A pipe, a device or a folder is refused, and never waited for.

    Raises OSError: also for what is no regular file, whose reading might not end.
    """
    _check_regular(os.stat(path), path)  # before it is opened: opening a device can do something
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        _check_regular(os.fstat(handle), path)  # it may have been replaced in between
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "It is no regular file", path.name)


# --- JSON from strangers -----------------------------------------------------------------------


def parse_json(text: str | bytes, *, infinite: bool = False) -> Any:
    """Parse JSON strictly: no key twice in an object, no NaN; infinity only where `infinite`.

    Raises ValueError, also for bytes that are no UTF-8 and for nesting too deep for the parser.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        constant = _infinity if infinite else _refuse_constant
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=constant)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):  # which of the two counts would depend on the reader
        raise ValueError("a key stands there twice")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _infinity(name: str) -> float:
    return _refuse_constant(name) if name == "NaN" else float(name)


# --- folders that are ours: runs, evaluations --------------------------------------------------
#
# Such a folder is entered by its real path, once. From then on a link in it was planted (an unpacked archive can hold
# one), and is never followed: not to read, not to write, not to remove.

_OWN = ".tastemaker.part"  # how unfinished files end, so that nobody else's is ever swept
_STALE_SECONDS = 3600.0
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_real(folder: Path) -> None:
    """Raise OSError where a link has come into the path of a folder that was entered by its real path."""
    if os.path.realpath(folder) != os.fspath(folder):
        raise OSError(errno.ELOOP, "A link stands where a folder belongs; it is not followed", folder.name)


def own_folder(folder: Path) -> Path:
    """Return a folder of ours, made where it is not there. Raises OSError, also where a link leads elsewhere."""
    check_real(folder)
    folder.mkdir(parents=True, exist_ok=True)
    check_real(folder)
    return folder


def check_own(path: Path, most: int | None = None) -> int:
    """Return the bytes of a file of ours. Raises OSError for a link, what is no file, and more than `most` bytes."""
    check_real(path.parent)
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "It is a link; it is not followed", path.name)
    _check_regular(found, path)
    if most is not None and found.st_size > most:
        raise OSError(errno.EFBIG, f"It has {found.st_size:,} bytes, over the limit of {most:,}", path.name)
    return found.st_size


def read_own(path: Path, most: int) -> bytes:
    """Return what a file of ours holds. Raises OSError as `check_own`."""
    check_own(path, most)
    handle = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    with os.fdopen(handle, "rb") as file:
        _check_regular(os.fstat(handle), path)
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"It has over {most:,} bytes", path.name)
    return data


def append_own(path: Path, data: bytes) -> None:
    """Add to the end of a file of ours, flushed to disk; made where it is not there. Raises OSError."""
    with open_own(path) as file:
        file.seek(0, os.SEEK_END)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def open_own(path: Path) -> BinaryIO:
    """Open a file of ours to read and write, made where it is not there. Raises OSError for a link or a pipe."""
    check_real(path.parent)
    if os.path.lexists(path):
        check_own(path)  # which says in words what it is
    handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
    try:
        _check_regular(os.fstat(handle), path)
        return os.fdopen(handle, "r+b")
    except BaseException:
        os.close(handle)
        raise


def sweep(folder: Path, older: float = _STALE_SECONDS, ending: str = _OWN) -> None:
    """Remove files that a kill left half-written, of an age in seconds that no writing takes. Raises nothing.

    In a folder that is a run's own, where nobody else writes: `older` 0, `ending` ".part".
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(ending):
                with suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime >= older:
                        os.unlink(entry.path)


# --- writing -----------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new file beside `path` to write to, which takes its name at the end of the block; no half of one ever.

    The file gets the mode that the process's umask leaves. Raises OSError; the old file is then as it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=_OWN)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path`: a temporary file beside it, flushed to disk, then renamed over it.

    `durable` False leaves the flushing to the system: for many small files that can be made again.
    Raises OSError and leaves the old file, and no temporary one.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def flush_system() -> None:
    """Have the system write what it holds back, of all files: one call after many small ones. Nothing on Windows."""
    if hasattr(os, "sync"):
        os.sync()


def unwritable(e: Exception) -> str:
    """Return why something cannot be written, without the folders in it that are nobody's business."""
    return str(getattr(e, "strerror", None) or e).splitlines()[0][:200]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

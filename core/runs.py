"""What the folders of long runs share: who works in one, and whether it is the same run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import check_own, check_real, parse_json, read_own, unwritable

MAX_CONFIG_BYTES = 2**26  # a run's prompts are in it


def kept_identity(path: Path) -> dict[str, Any] | None:
    """Return what a folder's config.json says must stay the same; None where there is no such file.

    Raises ValueError, its message half a sentence, for a file that is damaged, a link, a pipe or too large.
    """
    if not os.path.lexists(path):
        return None
    try:
        found = parse_json(read_own(path, MAX_CONFIG_BYTES))
    except OSError as e:
        raise ValueError(f"cannot be read ({unwritable(e)})") from e
    except ValueError as e:
        raise ValueError("is damaged") from e
    identity = found.get("identity") if isinstance(found, dict) else None
    if not isinstance(identity, dict) or not identity:
        raise ValueError("is damaged: it does not say what the folder is of")
    return identity


def first_difference(found: Any, wanted: Any, name: str = "") -> str:
    """Return the name of the first entry that differs between two JSON objects; empty where none does.

    Two that are no objects at all differ in "identity".
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(set(found) | set(wanted)):
            odd = first_difference(found.get(key), wanted.get(key), key)
            if odd:
                return odd
        return ""
    return "" if found == wanted else name or "identity"


def locked(path: Path) -> ExitStack:
    """Hold a lock file for this process alone, until `close()` or the end of a `with` block.

    The system lets go of it when the process ends, however it does. Raises InputError when another one holds it, and
    OSError where it cannot be made, or where a link, a pipe or a folder stands in its place.
    """
    from filelock import FileLock, Timeout

    check_real(path.parent)
    if os.path.lexists(path):
        check_own(path)  # which says in words what it is; a lock would open it
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as e:
        raise InputError(
            "run_folder", path.parent.name, "Another run is at work in it. Wait for it, or give this run another name."
        ) from e
    held = ExitStack()
    held.callback(lock.release)
    return held


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes `path`, into an InputError that names the file and says why."""
    try:
        yield
    except OSError as e:
        raise not_written(path, e) from e


def not_written(path: Path, error: Exception) -> InputError:
    """Return the error for a file of a run that cannot be written; the folder is not in it."""
    advice = f"It cannot be written ({unwritable(error)}). What was there before is intact."
    return InputError("run_folder", path.name, advice)

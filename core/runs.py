"""What the folders of long runs share: who works in one, and whether it is the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InputError


def first_difference(found: Any, wanted: Any, name: str = "") -> str:
    """The name of the first entry that differs between two JSON objects; empty where none does."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(set(found) | set(wanted)):
            odd = first_difference(found.get(key), wanted.get(key), key)
            if odd:
                return odd
        return ""
    return "" if found == wanted else name


def locked(path: Path) -> Any:
    """An open file that this process alone holds; the system lets go of it when the process ends, however it does.

    Raises InputError when another one holds it.
    """
    file = path.open("a+b")
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        file.close()
        raise InputError(
            "run_folder", path.parent.name, "Another run is at work in it. Wait for it, or give this run another name."
        ) from e
    return file

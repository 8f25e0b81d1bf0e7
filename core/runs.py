"""What the folders of long runs share: who works in one, and whether it is the same run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import open_own, read_own, unwritable

MAX_CONFIG_BYTES = 2**26  # a run's prompts are in it


def kept_identity(path: Path) -> dict[str, Any] | None:
    """Return what a folder's config.json says must stay the same; None where there is no such file.

    Raises ValueError, its message half a sentence, for a file that is damaged, a link, a pipe or too large.
    """
    if not os.path.lexists(path):
        return None
    try:
        found = json.loads(read_own(path, MAX_CONFIG_BYTES).decode("utf-8"))
    except OSError as e:
        raise ValueError(f"cannot be read ({unwritable(e)})") from e
    except (ValueError, RecursionError) as e:
        raise ValueError("is damaged") from e
    identity = found.get("identity") if isinstance(found, dict) else None
    if not isinstance(identity, dict) or not identity:
        raise ValueError("is damaged: it does not say what the folder is of")
    return identity


def first_difference(found: Any, wanted: Any, name: str = "") -> str:
    """The name of the first entry that differs between two JSON objects; empty where none does.

    Two that are no objects at all differ in "identity".
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(set(found) | set(wanted)):
            odd = first_difference(found.get(key), wanted.get(key), key)
            if odd:
                return odd
        return ""
    return "" if found == wanted else name or "identity"


def locked(path: Path) -> Any:
    """An open file that this process alone holds; the system lets go of it when the process ends, however it does.

    Raises InputError when another one holds it.
    """
    file = open_own(path)
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

"""What the host's page is shown: pictures and saved files, messages while a node runs, blocked outputs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, TastemakerError
from ...core.files import unwritable, write_atomic

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)


def tell_page(event: str, message: Mapping[str, Any]) -> None:
    """Send a message to the page that queued the graph; does nothing without a server."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(event, dict(message), server.client_id)


def blocked(why: str) -> Any:
    """Return an output that stops the nodes behind it, and nothing else.

    The host shows a reason as an error on the node behind; an empty branch is no error, so the
    reason goes to the log.
    """
    from comfy_execution.graph_utils import ExecutionBlocker

    log.info(why)
    return ExecutionBlocker(None)


# --- pictures in the temp folder --------------------------------------------------------------


@contextmanager
def _writing() -> Iterator[None]:
    """Raise TastemakerError where the host's temp folder cannot be written: a full disk, mostly."""
    try:
        yield
    except OSError as e:
        why = f"ComfyUI's temp folder cannot be written ({unwritable(e)})."
        raise TastemakerError(f"{why} Make room, or give the right to write; then run again.") from e


def preview_entry(picture: Image.Image, name: str) -> dict[str, str]:
    """Write a picture to the host's temp folder and describe it as the page expects."""
    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    path = folder / f"tastemaker_{name}_{time.time_ns():x}.png"
    with _writing():
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(path, compress_level=1)
    return _entry(path.name, "", "temp")


def temp_picture(name: str, make: Callable[[], tuple[bytes, str]], *, timeless: bool = False) -> dict[str, str]:
    """Write a picture to the host's temp folder, once by its name, and describe it as the page expects.

    `make` returns the data and the extension; it is called only where no such file is. `timeless` sets the file's time
    to 1970: the host sends it along with the picture, and it would say which of two was made first.
    """
    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    stem = f"tastemaker_{name}"
    found = _there(folder, stem)
    if found is None:
        data, extension = make()
        found = f"{stem}.{extension}"
        with _writing():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / found, data, durable=False)  # the folder is emptied at every start
    if timeless:
        os.utime(folder / found, (0, 0))
    return _entry(found, "", "temp")


def known_picture(name: str) -> dict[str, str] | None:
    """Describe a picture that `temp_picture` has written under this name; None where none has been."""
    import folder_paths

    found = _there(Path(folder_paths.get_temp_directory()), f"tastemaker_{name}")
    return None if found is None else _entry(found, "", "temp")


def _there(folder: Path, stem: str) -> str | None:
    return next((n for n in (f"{stem}.jpg", f"{stem}.png") if (folder / n).is_file()), None)


# --- files that are there ---------------------------------------------------------------------


def view_entry(path: Path) -> dict[str, str] | None:
    """Describe a picture's file for the page; None for one that it could not show: outside input and output."""
    import folder_paths

    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp", ".gif"):
        return None
    real = Path(os.path.realpath(path))
    for kind, root in (("input", folder_paths.get_input_directory()), ("output", folder_paths.get_output_directory())):
        base = Path(os.path.realpath(root))
        if real.is_relative_to(base) and real.is_file():
            return _entry(real.name, real.parent.relative_to(base).as_posix(), kind)
    return None


def saved_entry(path: Path) -> dict[str, str]:
    """Describe a file under the output folder as the page expects, whichever of the two was reached by a link."""
    import folder_paths

    root = os.path.realpath(folder_paths.get_output_directory())
    return _entry(path.name, Path(os.path.realpath(path.parent)).relative_to(root).as_posix(), "output")


def _entry(name: str, folder: str, kind: str) -> dict[str, str]:
    return {"filename": name, "subfolder": "" if folder == "." else folder, "type": kind}


def workflow_metadata(hidden: Any) -> dict[str, Any]:
    """Return what the host writes into a PNG: `prompt` and `workflow`, unless the user switched it off."""
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    found: dict[str, Any] = {}
    if hidden.prompt:
        found["prompt"] = hidden.prompt
    more = hidden.extra_pnginfo or {}
    if not isinstance(more, Mapping):
        raise InputError("extra_pnginfo", more, "What comes with the prompt must be a record of texts by name.")
    found.update(more)
    return found

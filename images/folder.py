"""A folder of pictures: what is in it, the prompt of each, and what is wrong with the rest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError
from ..core.files import open_regular
from ..core.progress import Progress
from ..core.texts import check_prompts
from .decode import ENDINGS, PictureError, check_file, check_size, open_file, shown_size
from .limits import MAX_FOLDER_DEPTH, MAX_PICTURES, MAX_SIDECAR_BYTES, MAX_VISITED
from .pictures import FilePictures, PictureFile
from .png import SIGNATURE, PngError, PngHeader, read_png
from .prompts import KEYWORDS, SHEET_KEY, Found, caption, exif_texts, find_prompt

PROMPT_SOURCES = ("auto", "metadata", "txt", "none")
WITHOUT_PROMPT = ("keep", "leave out")
ORDERS = ("name", "newest first")
_DIGITS = re.compile(r"([0-9]+)")


class Folder(NamedTuple):
    """What was found in a folder.

    Attributes:
        pictures: N files that look whole; pixels are decoded later.
        prompts: N texts, empty where there is none.
        seeds: N seeds, None where unknown.
        broken: (name, why) of files that cannot be used.
        without_prompt: (name, why) of pictures with no prompt of their own.
        skipped: (name, why) of what was left out on purpose.
    """

    pictures: FilePictures
    prompts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    broken: tuple[tuple[str, str], ...]
    without_prompt: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]


def read_folder(
    root: Path,
    *,
    recursive: bool = False,
    prompts_from: str = "auto",
    default_prompt: str = "",
    without_prompt: str = "keep",
    order: str = "name",
    max_pictures: int = MAX_PICTURES,
    progress: Progress | None = None,
) -> Folder:
    """List the pictures of a folder with their prompts. Files that cannot be used are listed, never fatal.

    Args:
        root: the folder. Links inside it that lead out of it are not followed.
        recursive: its sub-folders too.
        prompts_from: `"metadata"` inside the files; `"txt"`, a text file of the same name beside each; `"auto"`, the
            text file where there is one, else the metadata; `"none"`.
        default_prompt: for pictures that have none of their own.
        without_prompt: `"keep"` pictures that still have none, or `"leave out"`.
        order: `"name"`, numbers in names counted as numbers, or `"newest first"`.
        max_pictures: files read, in that order; the rest is named in `skipped`.
        progress: counts the files read; what it raises stops the reading.

    Raises:
        InputError: a choice that does not exist, or a folder that cannot be listed.
    """
    _check(prompts_from, default_prompt, without_prompt, order, max_pictures)
    names, broken = list_files(root, recursive=recursive)
    names = sorted(names, key=_newest(root) if order == "newest first" else natural)
    skipped = [(f"{len(names) - max_pictures} files", "over max_pictures")] if len(names) > max_pictures else []
    progress = progress or Progress()
    progress.phase("reading", min(len(names), max_pictures))
    listing = read_files(
        root,
        names[:max_pictures],
        prompts_from=prompts_from,
        default_prompt=default_prompt,
        without_prompt=without_prompt,
        progress=progress,
    )
    return listing._replace(broken=(*broken, *listing.broken), skipped=(*skipped, *listing.skipped))


def read_files(
    root: Path,
    names: Sequence[str],
    *,
    prompts_from: str = "auto",
    default_prompt: str = "",
    without_prompt: str = "keep",
    progress: Progress | None = None,
) -> Folder:
    """Read the prompts of pictures below `root` whose names `list_files` gave; arguments are `read_folder`'s."""
    progress = progress or Progress()
    rows, broken, lacking, skipped = [], [], [], []
    for name in names:
        progress.advance()
        try:
            file, texts = _read_file(root, name, progress.check_cancelled)
        except (PictureError, PngError) as e:
            broken.append((name, str(e)))
            continue
        if SHEET_KEY in texts:
            skipped.append((name, "a contact sheet of Tastemaker"))
            continue
        found = _prompt(root / name, texts, prompts_from)
        if not found.prompt and default_prompt:
            found = found._replace(prompt=default_prompt)
        elif not found.prompt and prompts_from != "none":
            lacking.append((name, found.why))
            if without_prompt == "leave out":
                continue
        rows.append((file, found.prompt, found.seed))
    files, prompts, seeds = zip(*rows, strict=True) if rows else ((), (), ())
    pictures = FilePictures(root, files)
    return Folder(pictures, prompts, seeds, tuple(broken), tuple(lacking), tuple(skipped))


def _check(prompts_from: object, default_prompt: str, without_prompt: object, order: object, most: object) -> None:
    choices = {"prompts_from": (prompts_from, PROMPT_SOURCES), "without_prompt": (without_prompt, WITHOUT_PROMPT)}
    for name, (value, known) in (choices | {"order": (order, ORDERS)}).items():
        if value not in known:
            raise InputError(name, value, f"Pick one of {', '.join(known)}.")
    check_prompts([default_prompt], "default_prompt")
    if not isinstance(most, int) or not 1 <= most <= MAX_PICTURES:
        raise InputError("max_pictures", most, f"It must be from 1 to {MAX_PICTURES:,}.")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts "pic2" before "pic10", and upper case with lower."""
    parts = enumerate(_DIGITS.split(name.casefold()))
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in parts if part]


def _newest(root: Path) -> Callable[[str], tuple[int, str]]:
    def key(name: str) -> tuple[int, str]:
        try:
            return -(root / name).stat().st_mtime_ns, name
        except OSError:
            return 0, name

    return key


def list_files(root: Path, *, recursive: bool) -> tuple[list[str], list[tuple[str, str]]]:
    """List names below `root` that end like pictures', and (name, why) of those that are refused unseen.

    Raises InputError for a folder that cannot be listed, or that holds more than anybody means to rank.
    """
    names: list[str] = []
    refused: list[tuple[str, str]] = []
    for name, entry in _walk(root, refused, recursive=recursive):
        if not name.lower().endswith(ENDINGS):
            continue
        why = _refusal(root, name, entry)
        if why:
            refused.append((printable(name), why))
        else:
            names.append(name)
    return names, refused


def _walk(root: Path, refused: list[tuple[str, str]], *, recursive: bool) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (name below root, entry) of files, those of sub-folders too where `recursive`. Hidden names are left out.

    `refused` gets (name, why) of folders that are not looked into.
    Raises InputError for a folder that cannot be listed, or that holds more than anybody means to rank.
    """
    folders = [("", MAX_FOLDER_DEPTH if recursive else 0)]
    visited = 0
    while folders:
        below, depth = folders.pop()
        try:
            with os.scandir(root / below) as entries:
                listed = list(islice(entries, MAX_VISITED + 1 - visited))
        except OSError as e:
            if not below:
                raise InputError("folder", root.name, f"It cannot be listed ({e.strerror or e}).") from e
            refused.append((printable(below), f"cannot be listed ({e.strerror or e})"))
            continue
        visited += len(listed)
        if visited > MAX_VISITED:
            raise InputError("folder", root.name, f"It holds more than {MAX_VISITED:,} files; pick a sub-folder.")
        for entry in listed:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders += [(name, depth - 1)] if depth else []
            elif depth and entry.is_symlink() and _is_folder(entry):
                refused.append((printable(name), "is a link to a folder; links to folders are not followed"))
            else:
                yield name, entry


def _is_folder(link: os.DirEntry[str]) -> bool:
    """Return whether a link leads to a folder; one that leads to itself leads nowhere."""
    try:
        return link.is_dir()
    except OSError:
        return False


def _refusal(root: Path, name: str, entry: os.DirEntry[str]) -> str:
    """Return why a file is not even opened; empty where it may be."""
    if printable(name) != name:
        return "has a name with characters that cannot be shown; rename it"
    if entry.is_symlink():
        real_root = os.path.realpath(root)
        if os.path.commonpath([os.path.realpath(root / name), real_root]) != real_root:
            return "is a link that leads out of the folder"
    return ""


def printable(name: str) -> str:
    """Return a name as it can be shown and written down: what cannot is spelt as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name)


def _read_file(root: Path, name: str, on_text: Callable[[], None]) -> tuple[PictureFile, dict[str, str]]:
    """Read a file's size and texts, without its pixels. Raises PictureError and PngError, and what `on_text` raises."""
    path = root / name
    count, changed = check_file(path)
    header = _png_header(path, on_text)
    if header is not None and not header.exif:
        return PictureFile(name, header.height, header.width, count, changed), header.texts
    with open_file(path) as picture:
        height, width = shown_size(picture)
        texts = exif_texts(picture) if header is None else header.texts
    return PictureFile(name, height, width, count, changed), texts


def _png_header(path: Path, on_text: Callable[[], None]) -> PngHeader | None:
    """Read the header; None for a file that is no PNG. Pillow would decode its pixels for it (`png.py`)."""
    try:
        with open_regular(path) as file:
            if file.read(8) != SIGNATURE:
                return None
            header = read_png(file, (*KEYWORDS, SHEET_KEY), on_text)
    except OSError as e:
        raise PictureError(f"cannot be read ({e.strerror or e})") from e
    check_size(header.width, header.height)
    if header.animated:
        raise PictureError("is an animation")
    return header


def _prompt(path: Path, texts: dict[str, str], prompts_from: str) -> Found:
    if prompts_from in ("auto", "txt"):
        beside = _sidecar(path)
        if beside is not None or prompts_from == "txt":
            return beside or Found("", None, "there is no .txt file of its name")
    return Found("", None, "") if prompts_from == "none" else find_prompt(texts)


def _sidecar(path: Path) -> Found | None:
    """Read what the text file beside a picture says; None where there is none."""
    beside = path.with_suffix(".txt")
    try:
        if not beside.is_file():
            return None
        if beside.is_symlink():
            return Found("", None, "its .txt file is a link")
        with open_regular(beside) as file:
            data = file.read(MAX_SIDECAR_BYTES + 1)
    except OSError as e:
        return Found("", None, f"its .txt file cannot be read ({e.strerror or e})")
    if len(data) > MAX_SIDECAR_BYTES:
        return Found("", None, f"its .txt file has over {MAX_SIDECAR_BYTES:,} bytes")
    try:
        return caption(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Found("", None, "its .txt file is not UTF-8")


def changes(root: Path, *, recursive: bool) -> str:
    """Return sixteen hex digits that change when a picture or text of a folder comes, goes or changes."""
    digest = hashlib.sha256()
    try:
        found = sorted(_walk(root, [], recursive=recursive), key=lambda pair: pair[0])
    except InputError as e:  # reading says what is wrong
        found = []
        digest.update(str(e).encode("utf-8", "backslashreplace"))
    for name, entry in found:
        if name.lower().endswith((*ENDINGS, ".txt")):
            digest.update(f"{name!r}:{_state(entry)}\n".encode())
    return digest.hexdigest()[:16]


def _state(entry: os.DirEntry[str]) -> str:
    """Return what of a file changes with its content, without reading it."""
    try:
        stat = entry.stat()
    except OSError as e:  # a link that leads nowhere
        return f"error {e.errno}"
    return f"{stat.st_size}:{stat.st_mtime_ns}"

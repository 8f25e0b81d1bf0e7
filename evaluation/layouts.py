"""Metadata files of protocols to prompts: a function for each way they are laid out.

They come from strangers: every field is checked before it is used, and none becomes a path unless it is a plain name.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InputError
from ..loaders.folder.files import leads_out

MAX_ROWS = 100_000
# Of a metadata file, by its layout: MJHQ's has 9 MB, COCO's captions of 82,783 pictures 64 MiB, PartiPrompts 0.1 MB.
MAX_METADATA_BYTES = {"mjhq": 2**26, "coco": 2**27, "tsv": 2**24, "lines": 2**24}
NAMES_PICTURES = ("mjhq", "coco")  # layouts whose every row has a real picture
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class PromptRow(NamedTuple):
    """One prompt of a protocol; `picture` is the real one to compare with, below the protocol's folder, or empty."""

    id: str
    prompt: str
    category: str = ""
    picture: str = ""


def read_text(path: Path, folder: Path, layout: str) -> str:
    """Read the text of a metadata file, its lines ended by newlines. Raises InputError."""
    most = MAX_METADATA_BYTES[layout]
    try:
        if leads_out(path, folder):
            raise InputError("metadata", path.name, "It is a link that leads out of the folder. Copy the file itself.")
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise InputError("metadata", path.name, f"It has over {most:,} bytes, more than such lists have. Split it.")
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except InputError:
        raise
    except (OSError, UnicodeDecodeError) as e:
        raise InputError("metadata", path.name, f"It cannot be read as text ({str(e)[:120]}).") from e


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as e:
        raise InputError("metadata", where, f"It is not JSON ({str(e)[:120]}).") from e


def _wrong(where: str, entry: object, what: str) -> InputError:
    from ..images.folder import printable

    return InputError("metadata", printable(str(entry)[:80]), f"{where} is not laid out so: {what}")


def is_plain(value: str) -> bool:
    """Say whether a text from metadata may become part of a path."""
    return _NAME.fullmatch(value) is not None and ".." not in value


def _plain(where: str, value: object, what: str) -> str:
    """Return a value that may become part of a file's name. Raises InputError."""
    if not isinstance(value, str) or not is_plain(value):
        raise _wrong(where, value, f"{what} must be a plain name of letters, digits, _ . and -.")
    return value


def _mjhq(text: str, where: str, categories: Sequence[str], seed: int) -> list[PromptRow]:
    """Read {"<id>": {"category": "animals", "prompt": "..."}, ...}; the picture is <category>/<id>.jpg."""
    content = _json(text, where)
    if not isinstance(content, dict):
        raise _wrong(where, type(content).__name__, "an object of ids is expected.")
    rows = []
    for name, entry in content.items():
        name = _plain(where, name, "an id")
        if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
            raise _wrong(where, name, "each id has a category and a prompt.")
        category = str(entry.get("category"))
        if category not in categories:
            raise _wrong(where, f"{name}: {category}", f"the categories are {', '.join(categories)}.")
        rows.append(PromptRow(name, entry["prompt"], category, f"{category}/{name}"))
    return rows


def _coco(text: str, where: str, categories: Sequence[str], seed: int) -> list[PromptRow]:
    """Read {"images": [{"id", "file_name"}], "annotations": [{"image_id", "id", "caption"}]}: one caption a picture.

    Papers draw it at random and do not say which; here the seed draws it.
    """
    content = _json(text, where)
    images, captions = (content.get(k) if isinstance(content, dict) else None for k in ("images", "annotations"))
    if not isinstance(images, list) or not isinstance(captions, list):
        raise _wrong(where, type(content).__name__, "an object with images and annotations is expected.")
    names: dict[int, str] = {}
    for one in images:
        if not isinstance(one, dict) or type(one.get("id")) is not int:
            raise _wrong(where, one, "each image has a whole number as id.")
        names[one["id"]] = _plain(where, one.get("file_name"), "a file_name")
    texts: dict[int, list[tuple[int, str]]] = {}
    for one in captions:
        good = isinstance(one, dict) and type(one.get("id")) is int and type(one.get("image_id")) is int
        good = good and one["image_id"] in names
        if not good or not isinstance(one.get("caption"), str):
            raise _wrong(where, one, "each annotation has an id, the image_id of an image, and a caption.")
        texts.setdefault(one["image_id"], []).append((one["id"], " ".join(one["caption"].split())))
    generator = random.Random(seed)
    return [PromptRow(str(i), generator.choice(sorted(texts[i]))[1], "", names[i]) for i in sorted(texts)]


def _lines_of(text: str) -> Iterator[str]:
    """Yield lines one at a time: a list of them all would take many times the text's memory."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _tsv(text: str, where: str, categories: Sequence[str], seed: int) -> list[PromptRow]:
    """Read a heading with Prompt, and perhaps Category; then a line each, columns parted by tabs.

    Nothing is quoted, as in PartiPrompts: a quotation mark is part of its prompt, also at the beginning.
    """
    from ..images.folder import printable

    lines = _lines_of(text)
    first = next(lines, "")
    heading = [name.strip().casefold() for name in first.split("\t")]
    if "prompt" not in heading:
        raise _wrong(where, first or "nothing", "the first line names the columns, Prompt among them.")
    at, kind = heading.index("prompt"), heading.index("category") if "category" in heading else None
    rows: list[PromptRow] = []
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        cells = line.split("\t")
        if len(cells) <= max(at, kind or 0) or not cells[at].strip():
            raise _wrong(where, f"line {number}", "every line has a Prompt, and as many columns as the first.")
        category = " ".join(cells[kind].split())[:64] if kind is not None else ""
        rows.append(PromptRow(str(number - 1), cells[at].strip(), printable(category)))
        if len(rows) > MAX_ROWS:
            break
    return rows


def _lines(text: str, where: str, categories: Sequence[str], seed: int) -> list[PromptRow]:
    stripped = (line.strip() for line in _lines_of(text))
    kept = islice((line for line in stripped if line and not line.startswith("#")), MAX_ROWS + 1)
    return [PromptRow(str(i), line) for i, line in enumerate(kept, 1)]


LAYOUTS: Mapping[str, Callable[[str, str, Sequence[str], int], list[PromptRow]]] = {
    "mjhq": _mjhq,
    "coco": _coco,
    "tsv": _tsv,
    "lines": _lines,
}

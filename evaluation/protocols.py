"""The protocols that papers measure by, as data: which prompts, which pictures to compare with, which size.

Metadata comes from strangers: every field is checked before it is used, and none becomes a path unless it is a
plain name.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InputError
from ..core.texts import check_prompts
from ..loaders.folder.files import leads_out
from .settings import OVERALL

log = logging.getLogger(__name__)

MAX_ROWS = 100_000
MAX_CATEGORIES = 200  # a report has a row and a chart's bar for each
ALL = -1  # as `count`: every prompt there is
# Of a metadata file, by its layout: MJHQ's has 9 MB, COCO's captions of 82,783 pictures 64 MiB, PartiPrompts 0.1 MB.
MAX_METADATA_BYTES = {"mjhq": 2**26, "coco": 2**27, "tsv": 2**24, "lines": 2**24}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ENDINGS = (".jpg", ".png", ".jpeg", ".webp")
MJHQ_CATEGORIES = (
    *("animals", "art", "fashion", "food", "indoor", "landscape", "logo", "people", "plants", "vehicles"),
)


class PromptRow(NamedTuple):
    """One prompt of a protocol; `picture` is the real one to compare with, below the protocol's folder, or empty."""

    id: str
    prompt: str
    category: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Protocol:
    """A protocol.

    Attributes:
        title: as a report names it.
        layout: how its metadata is laid out: a key of `_LAYOUTS`.
        metadata: names its file may have in the folder, best first.
        pictures: sub-folders the real pictures may be in, best first; empty: there are none.
        size: height and width of what is sampled; 0 is the model's own.
        count: prompts it is published with; 0 is all.
        categories: what it is split into, all of them needed; empty: whatever there is.
        source: paper and where to get it.
    """

    title: str
    layout: str
    metadata: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    size: int = 0
    count: int = 0
    categories: tuple[str, ...] = ()
    source: str = ""


PROTOCOLS: Mapping[str, Protocol] = {
    "mjhq-30k": Protocol(
        "MJHQ-30K",
        "mjhq",
        ("meta_data.json",),
        ("mjhq30k_imgs", "."),
        1024,
        30_000,
        MJHQ_CATEGORIES,
        "Li et al. 2024, arXiv 2402.17245; playgroundai/MJHQ-30K: meta_data.json and mjhq30k_imgs.zip.",
    ),
    "coco-2014": Protocol(
        "MS-COCO 2014",
        "coco",
        ("captions_val2014.json", "annotations/captions_val2014.json", "captions_train2014.json"),
        ("val2014", "train2014", "."),
        256,
        30_000,
        (),
        "Lin et al. 2014, arXiv 1405.0312; one caption each of 30,000 pictures of val2014, as Imagen (2205.11487).",
    ),
    "parti-prompts": Protocol(
        "PartiPrompts",
        "tsv",
        ("PartiPrompts.tsv", "parti-prompts.tsv"),
        source="Yu et al. 2022, arXiv 2206.10789; google-research/parti: PartiPrompts.tsv, 1,632 prompts.",
    ),
    "own": Protocol(
        "Own prompts",
        "lines",
        ("prompts.txt", "prompts.tsv"),
        ("pictures", "reference"),
        source="prompts.txt: one prompt a line; or prompts.tsv: a table with a column Prompt.",
    ),
}


def read_protocol(name: str, folder: Path, *, count: int = 0, seed: int = 0) -> list[PromptRow]:
    """The prompts of a protocol from its folder.

    Args:
        name: a key of `PROTOCOLS`.
        folder: where its metadata is, and its real pictures if it has any.
        count: how many; 0 is as published, or all where there are fewer; `ALL` is all. Where there are categories, as
            many of each as can be.
        seed: which, where not all are taken.

    Raises:
        InputError: a name that does not exist, metadata that is missing, a link out of the folder, or not laid out so,
            naming the entry;
            categories that are missing; more prompts asked for than there are.
    """
    known = _known(name)
    path = metadata_file(name, folder)
    layout = "tsv" if path.suffix == ".tsv" else known.layout
    rows = _LAYOUTS[layout](_text(path, folder, MAX_METADATA_BYTES[layout]), path.name, known, seed)
    if not 1 <= len(rows) <= MAX_ROWS:
        count_found = f"over {MAX_ROWS:,}" if rows else "no"
        raise InputError("metadata", f"{count_found} prompts in {path.name}", f"There must be 1 to {MAX_ROWS:,}.")
    check_prompts([row.prompt for row in rows], path.name)
    categories = {row.category for row in rows}
    if len(categories) > MAX_CATEGORIES:
        raise InputError("metadata", f"{len(categories):,} categories in {path.name}", f"At most {MAX_CATEGORIES}.")
    if OVERALL in categories:
        raise InputError("metadata", OVERALL, f"{path.name} has it as a category; a report means all of them by it.")
    missing = sorted(set(known.categories) - categories)
    if missing:
        raise InputError("metadata", ", ".join(missing), f"{path.name} has no prompt of these categories.")
    if count > len(rows):
        raise InputError("count", count, f"{path.name} has {len(rows):,} prompts.")
    if not count and len(rows) < known.count:
        log.warning("%s is published with %d prompts; %s has %d.", known.title, known.count, path.name, len(rows))
    if count != ALL:
        rows = chosen(rows, count or min(known.count or len(rows), len(rows)), seed)
    return [row._replace(picture=_found(folder, known, row)) for row in rows]


def _known(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise InputError("protocol", name, f"Pick one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def metadata_file(name: str, folder: Path) -> Path:
    """The file that holds a protocol's prompts. Raises InputError where there is no such protocol or file."""
    known = _known(name)
    path = next((p for n in known.metadata if (p := folder / n).is_file()), None)
    if path is None:
        wanted = " or ".join(known.metadata)
        raise InputError("folder", folder.name, f"{known.title} needs {wanted} in it. {known.source}")
    return path


def chosen(rows: Sequence[PromptRow], count: int, seed: int) -> list[PromptRow]:
    """`count` rows in their order, as many of each category as can be, drawn by the seed."""
    if count >= len(rows):
        return list(rows)
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.category, []).append(i)
    generator = random.Random(seed)  # Python's own: the same on every machine
    shuffled = {name: generator.sample(groups[name], len(groups[name])) for name in sorted(groups)}
    taken: list[int] = []
    while len(taken) < count:  # one of each in turn, until a category has no more
        for places in shuffled.values():
            if places and len(taken) < count:
                taken.append(places.pop())
    return [rows[i] for i in sorted(taken)]


def _found(folder: Path, known: Protocol, row: PromptRow) -> str:
    """Where the real picture of a row is, below the folder; as named where it is nowhere, which reading will say."""
    if not row.picture or not known.pictures:
        return ""
    stem, ending = row.picture.rsplit(".", 1) if "." in row.picture else (row.picture, "")
    names = [row.picture] if ending else [f"{stem}{e}" for e in _ENDINGS]
    places = [name if sub == "." else f"{sub}/{name}" for sub in known.pictures for name in names]
    return next((p for p in places if (folder / p).is_file()), places[0])


# --- layouts ----------------------------------------------------------------------------------


def _text(path: Path, folder: Path, most: int) -> str:
    """A metadata file's text, its lines ended by newlines. Raises InputError."""
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
    """Whether a text from metadata may become part of a path."""
    return _NAME.fullmatch(value) is not None and ".." not in value


def _plain(where: str, value: object, what: str) -> str:
    """A value that may become part of a file's name. Raises InputError."""
    if not isinstance(value, str) or not is_plain(value):
        raise _wrong(where, value, f"{what} must be a plain name of letters, digits, _ . and -.")
    return value


def _mjhq(text: str, where: str, known: Protocol, seed: int) -> list[PromptRow]:
    """{"<id>": {"category": "animals", "prompt": "..."}, ...}; the picture is <category>/<id>.jpg."""
    content = _json(text, where)
    if not isinstance(content, dict):
        raise _wrong(where, type(content).__name__, "an object of ids is expected.")
    rows = []
    for name, entry in content.items():
        name = _plain(where, name, "an id")
        if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
            raise _wrong(where, name, "each id has a category and a prompt.")
        category = entry.get("category")
        if category not in known.categories:
            raise _wrong(where, f"{name}: {category}", f"the categories are {', '.join(known.categories)}.")
        rows.append(PromptRow(name, entry["prompt"], category, f"{category}/{name}"))
    return rows


def _coco(text: str, where: str, known: Protocol, seed: int) -> list[PromptRow]:
    """{"images": [{"id", "file_name"}], "annotations": [{"image_id", "id", "caption"}]}: one caption a picture.

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
    """Lines one at a time: a list of them all would take many times the text's memory."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _tsv(text: str, where: str, known: Protocol, seed: int) -> list[PromptRow]:
    """A heading with Prompt, and perhaps Category; then a line each, columns parted by tabs.

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


def _lines(text: str, where: str, known: Protocol, seed: int) -> list[PromptRow]:
    stripped = (line.strip() for line in _lines_of(text))
    kept = islice((line for line in stripped if line and not line.startswith("#")), MAX_ROWS + 1)
    return [PromptRow(str(i), line) for i, line in enumerate(kept, 1)]


_LAYOUTS: Mapping[str, Callable[[str, str, Protocol, int], list[PromptRow]]] = {
    "mjhq": _mjhq,
    "coco": _coco,
    "tsv": _tsv,
    "lines": _lines,
}
NAMES_PICTURES = ("mjhq", "coco")  # layouts whose every row has a real picture

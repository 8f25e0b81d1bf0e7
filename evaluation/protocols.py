"""The protocols that papers measure by, as data: which prompts, which pictures to compare with, which size."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.texts import check_prompts
from .layouts import LAYOUTS, MAX_ROWS, PromptRow, read_text
from .settings import OVERALL

log = logging.getLogger(__name__)

MAX_CATEGORIES = 200  # a report has a row and a chart's bar for each
ALL = -1  # as `count`: every prompt there is
_ENDINGS = (".jpg", ".png", ".jpeg", ".webp")
MJHQ_CATEGORIES = (
    *("animals", "art", "fashion", "food", "indoor", "landscape", "logo", "people", "plants", "vehicles"),
)


@dataclass(frozen=True)
class Protocol:
    """A protocol.

    Attributes:
        title: as a report names it.
        layout: how its metadata is laid out: a key of `LAYOUTS`.
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
    """Read the prompts of a protocol from its folder.

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
    known = _protocol(name)
    path = metadata_file(name, folder)
    layout = "tsv" if path.suffix == ".tsv" else known.layout
    rows = LAYOUTS[layout](read_text(path, folder, layout), path.name, known.categories, seed)
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
        rows = choose_rows(rows, count or min(known.count or len(rows), len(rows)), seed)
    return [row._replace(picture=_found(folder, known, row)) for row in rows]


def _protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise InputError("protocol", name, f"Pick one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def metadata_file(name: str, folder: Path) -> Path:
    """Find the file that holds a protocol's prompts. Raises InputError where there is no such protocol or file."""
    known = _protocol(name)
    path = next((p for n in known.metadata if (p := folder / n).is_file()), None)
    if path is None:
        wanted = " or ".join(known.metadata)
        raise InputError("folder", folder.name, f"{known.title} needs {wanted} in it. {known.source}")
    return path


def choose_rows(rows: Sequence[PromptRow], count: int, seed: int) -> list[PromptRow]:
    """Return `count` rows in their order, as many of each category as can be, drawn by the seed."""
    if count >= len(rows):
        return list(rows)
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.category, []).append(i)
    generator = random.Random(seed)  # Python's own: the same on every machine
    shuffled = {name: generator.sample(groups[name], len(groups[name])) for name in sorted(groups)}
    taken: list[int] = []
    while len(taken) < count:  # one of each in turn, until a category has no more
        for left in shuffled.values():
            if left and len(taken) < count:
                taken.append(left.pop())
    return [rows[i] for i in sorted(taken)]


def _found(folder: Path, known: Protocol, row: PromptRow) -> str:
    """Say where the real picture of a row is, below the folder; one that is nowhere keeps its name."""
    if not row.picture or not known.pictures:
        return ""
    stem, ending = row.picture.rsplit(".", 1) if "." in row.picture else (row.picture, "")
    names = [row.picture] if ending else [f"{stem}{e}" for e in _ENDINGS]
    paths = [name if sub == "." else f"{sub}/{name}" for sub in known.pictures for name in names]
    return next((p for p in paths if (folder / p).is_file()), paths[0])

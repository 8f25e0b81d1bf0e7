"""Units of work: names of pictures in a folder, or a shard; listed once, so that what comes later shifts none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ...core.errors import InputError
from ...core.files import parse_json, replacing
from ...core.runs import writing
from ...images.folder import list_files, natural, read_files
from ...images.pictures import Pictures
from ...images.shards import read_shard
from .plan import Plan

FILE = "units.jsonl"


class Unit(NamedTuple):
    """One unit: `shard` (a path), or `names` below the folder `root`."""

    root: Path
    names: tuple[str, ...]
    shard: Path | None


class Piece(NamedTuple):
    """Pictures of a unit that are in memory, or listed, together; `names` are what the lists call them."""

    pictures: Pictures
    prompts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    names: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]


def list_units(plan: Plan, path: Path) -> None:
    """Write what there is to do, a line for each unit; leave a list that is there as it is.

    Of jobs that begin at once one writes the list and the others take it. Raises InputError for what cannot be listed.
    """
    if path.exists():
        return
    own = path.with_name(f"{path.name}.{os.getpid()}")  # unlike a rename, a link never replaces what others work from
    with writing(path), replacing(own) as temporary, temporary.open("w", encoding="utf-8") as file:
        for number, name in enumerate(plan.pictures):
            file.writelines(json.dumps(line) + "\n" for line in _lines(plan, number, plan.path(name)))
    try:
        with writing(path), suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink()


def _lines(plan: Plan, number: int, root: Path) -> Iterator[dict[str, object]]:
    if root.suffix == ".tar":
        if not root.is_file():
            raise InputError("pictures", root.name, "There is no such shard.")
        yield {"source": number, "shard": ""}
        return
    shards = sorted((n for n in _listed(root) if n.endswith(".tar")), key=natural)
    for name in shards:
        yield {"source": number, "shard": name}
    names = iter(sorted(list_files(root, recursive=True)[0], key=natural)) if not shards else iter(())
    while part := list(islice(names, plan.unit)):
        yield {"source": number, "names": part}


def _listed(root: Path) -> list[str]:
    try:
        return os.listdir(root)
    except OSError as e:
        raise InputError("pictures", root.name, f"The folder cannot be listed ({e.strerror or e}).") from e


def read_units(plan: Plan, path: Path) -> Iterator[tuple[int, Unit]]:
    """Yield (number, unit) one after the other. Raises InputError for a list that is damaged."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            try:
                content = parse_json(line)
                root = plan.path(plan.pictures[content["source"]])
                names, shard = content.get("names", ()), content.get("shard")
                if not all(isinstance(name, str) for name in names):
                    raise ValueError("a name that is none")
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
                raise InputError("output", path.name, f"Line {number + 1} is damaged. Remove the folder.") from e
            yield number, Unit(root, tuple(names), None if shard is None else root / shard if shard else root)


def read_pieces(plan: Plan, unit: Unit) -> Iterator[Piece]:
    """Read a unit's pictures and prompts, as much at once as memory should hold."""
    if unit.shard is None:
        found = read_files(unit.root, unit.names, prompts_from=plan.prompts_from, default_prompt=plan.default_prompt)
        names = tuple(file.name for file in found.pictures.files)
        yield Piece(found.pictures, found.prompts, found.seeds, names, found.broken)
        return
    told = {"prompts_from": plan.prompts_from, "default_prompt": plan.default_prompt}
    for piece in read_shard(unit.shard, **told):
        names = tuple(f"{unit.shard.name}/{file.name}" for file in piece.pictures.files)
        broken = tuple((f"{unit.shard.name}/{name}", why) for name, why in piece.broken)
        yield Piece(piece.pictures, piece.prompts, piece.seeds, names, broken)

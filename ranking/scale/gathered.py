"""From the parts to what people want: one list of all scores, and the best pictures with sheet and page."""

from __future__ import annotations

import csv
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...core.files import own_folder, replacing
from ...core.runs import writing
from ...core.texts import spreadsheet_text
from ...images.folder import read_files
from ...images.joined import JoinedPictures
from ...images.pictures import Pictures
from ...images.shards import read_shard
from ..output.save import save_table
from ..table import ScoreTable, rank_table
from .parts import Row, read_part
from .plan import Plan, import_parquet
from .units import Unit, read_units

Write = Callable[[list[Row]], None]


class Kept(NamedTuple):
    """A picture that may be kept; they sort by score, and of equal ones the earlier is the better."""

    score: float
    earlier: int
    unit: int
    row: Row


def gather(plan: Plan, output: Path, units: Path, names: list[str]) -> list[Path]:
    """Write the list of all scores and the best pictures; return the files to look at. `names` are the rewards'.

    Memory grows with the pictures kept alone. Raises InputError for a part that is missing or damaged.
    """
    best: defaultdict[str, list[Kept]] = defaultdict(list)
    path, count = output / f"scores.{plan.format}", 0
    with writing(path), _list(path, plan.format, names) as write:
        for number, _ in read_units(plan, units):
            rows = list(read_part(output, number))
            write(rows)
            for row in rows:
                count += 1
                if row.scores and plan.top_k:
                    kept = best[row.prompt if plan.group_by == "prompt" else ""]
                    one = Kept(next(iter(row.scores.values())), -count, number, row)
                    (heapq.heappush if len(kept) < plan.top_k else heapq.heappushpop)(kept, one)
    chosen = [one for kept in best.values() for one in kept]
    return [path, *_save_best(plan, output, units, chosen)] if chosen else [path]


@contextmanager
def _list(path: Path, kind: str, names: list[str]) -> Iterator[Write]:
    """Yield what adds rows to the list of all scores, which gets its name when it is whole."""
    with replacing(path) as temporary:
        if kind == "csv":
            with temporary.open("w", encoding="utf-8-sig", newline="") as file:
                table = csv.writer(file)
                table.writerow(["name", "prompt", "seed", *names, "problem"])
                yield lambda rows: table.writerows(_cells(row, names) for row in rows)
            return
        import pyarrow

        columns = [("name", pyarrow.string()), ("prompt", pyarrow.string()), ("seed", pyarrow.uint64())]
        schema = pyarrow.schema([*columns, *((n, pyarrow.float32()) for n in names), ("problem", pyarrow.string())])
        with import_parquet().ParquetWriter(temporary, schema) as writer:
            yield lambda rows: writer.write_table(pyarrow.table(_columns(rows, names), schema=schema))


def _cells(row: Row, names: list[str]) -> list[Any]:
    scores = [(row.scores or {}).get(name, "") for name in names]
    seed = "" if row.seed is None else row.seed
    return [spreadsheet_text(row.name), spreadsheet_text(row.prompt), seed, *scores, row.problem]


def _columns(rows: list[Row], names: list[str]) -> dict[str, list[Any]]:
    plain = {name: [getattr(row, name) for row in rows] for name in ("name", "prompt", "seed", "problem")}
    return plain | {name: [(row.scores or {}).get(name) for row in rows] for name in names}


# --- the best -----------------------------------------------------------------------------------


def _save_best(plan: Plan, output: Path, units: Path, chosen: list[Kept]) -> list[Path]:
    """Save the chosen pictures, best first, with their lists, a sheet and a page."""
    by_unit: defaultdict[int, list[Kept]] = defaultdict(list)
    for one in chosen:
        by_unit[one.unit].append(one)
    held: list[tuple[Pictures, int]] = []
    rows: list[Row] = []
    for number, unit in read_units(plan, units):
        if number not in by_unit:
            continue
        found = _pictures(unit, {one.row.name for one in by_unit[number]})
        for one in sorted(by_unit[number], key=lambda kept: -kept.earlier):
            if one.row.name in found:  # a file that went since it was scored is in the list, not among the best
                held.append(found[one.row.name])
                rows.append(one.row)
    if not held:
        return []
    scores = {name: torch.tensor([(row.scores or {})[name] for row in rows]) for name in rows[0].scores or {}}
    prompts, seeds = tuple(row.prompt for row in rows), tuple(row.seed for row in rows)
    table = ScoreTable(JoinedPictures(tuple(held)), prompts, seeds, scores, next(iter(scores)))
    ranked, kept, _ = rank_table(table, top_k=plan.top_k, group_by=plan.group_by)
    with writing(output / "best"):
        folder = own_folder(output / "best")
    saved = save_table(ranked.rows(kept), folder, "best_")
    return [path for path in (saved.html, saved.sheet) if path is not None]


def _pictures(unit: Unit, names: set[str]) -> dict[str, tuple[Pictures, int]]:
    """Return those pictures of a unit that are still there, by the names of its rows: (pictures, place among them)."""
    if unit.shard is None:
        listed = read_files(unit.root, sorted(names), prompts_from="none").pictures
        return {file.name: (listed, i) for i, file in enumerate(listed.files)}
    own = {name.removeprefix(f"{unit.shard.name}/"): name for name in names}
    found: dict[str, tuple[Pictures, int]] = {}
    for piece in read_shard(unit.shard, prompts_from="none", only=own):
        found |= {own[file.name]: (piece.pictures, i) for i, file in enumerate(piece.pictures.files)}
    return found

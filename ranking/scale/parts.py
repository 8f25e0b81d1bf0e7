"""What became of a unit: a file of its own, written whole or not at all, which is never changed again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...core.errors import InputError
from ...core.files import own_folder, parse_json, write_atomic
from ...core.runs import writing


class Row(NamedTuple):
    """One picture: its scores by name, the main one first; or the problem that left it without."""

    name: str
    prompt: str = ""
    seed: int | None = None
    scores: dict[str, float] | None = None
    problem: str = ""


def part_path(output: Path, number: int) -> Path:
    """Return the file of a unit. A thousand share a folder, since many file systems suffer from more."""
    return output / "parts" / f"{number // 1000:04d}" / f"{number:07d}.jsonl"


def write_part(output: Path, number: int, rows: Iterable[Row]) -> None:
    """Keep what became of a unit. Raises InputError where it cannot be written."""
    path = part_path(output, number)
    lines = [json.dumps(list(row), allow_nan=False, ensure_ascii=False) for row in rows]
    with writing(path):
        own_folder(path.parent)
        write_atomic(path, "".join(f"{line}\n" for line in [*lines, len(lines)]).encode("utf-8", "backslashreplace"))


def is_done(output: Path, number: int) -> bool:
    """Say whether a unit's part is there and whole: its last line counts the others."""
    try:
        with part_path(output, number).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 32))
            return file.read().splitlines()[-1].isdigit()
    except (OSError, IndexError):
        return False


def read_part(output: Path, number: int) -> Iterator[Row]:
    """Yield what became of a unit. Raises InputError for a part that is missing or damaged."""
    path, count = part_path(output, number), 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                content = parse_json(line)
                if isinstance(content, int):
                    break
                yield _checked(Row(*content))
                count += 1
        if content != count:
            raise ValueError("cut off")
    except (OSError, ValueError, TypeError, UnboundLocalError) as e:
        raise InputError("output", path.name, "This part is damaged. Remove it and run the plan again.") from e


def _checked(row: Row) -> Row:
    texts = all(isinstance(text, str) for text in (row.name, row.prompt, row.problem))
    scores = row.scores is None or (
        isinstance(row.scores, dict) and bool(row.scores) and all(type(v) in (int, float) for v in row.scores.values())
    )
    if not texts or not scores or not (row.seed is None or type(row.seed) is int):
        raise ValueError("a row that is none")
    return row

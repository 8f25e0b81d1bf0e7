"""A ranked table as files: PNGs with metadata, a CSV, a JSON and a sheet. Every write is atomic."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL.PngImagePlugin import PngInfo

from ..loaders.errors import InputError
from ..loaders.files import write_atomic
from .preprocess import to_pil
from .sheet import sheet
from .table import ScoreTable

METADATA_KEY = "tastemaker"  # the PNG text chunk that holds a picture's record
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class SavedTable(NamedTuple):
    """Paths of what was written; `pictures` in the table's order."""

    pictures: list[Path]
    csv: Path
    json: Path
    sheet: Path


def save_table(
    table: ScoreTable,
    folder: Path,
    stem: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    on_file: Callable[[int], None] | None = None,
) -> SavedTable:
    """Save a table under `folder`, every name starting with `stem`.

    Args:
        table: ranked, in the order the files should sort.
        metadata: JSON-able text chunks for every PNG (ComfyUI's `prompt` and `workflow`).
        on_file: called with the number of pictures written; what it raises stops the saving.

    Raises:
        InputError: the folder cannot be written.
    """
    records = _records_with_files(table, stem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = []
        for i, record in enumerate(records):
            path = folder / str(record["file"])
            write_atomic(path, _png(table, i, record, metadata or {}))
            pictures.append(path)
            if on_file is not None:
                on_file(i + 1)
        saved = SavedTable(
            pictures, *(folder / f"{stem}{name}" for name in ("ranking.csv", "ranking.json", "sheet.png"))
        )
        write_atomic(saved.csv, _csv(records).encode("utf-8-sig"))
        write_atomic(saved.json, to_json(records).encode("utf-8"))
        picture = io.BytesIO()
        sheet(table).save(picture, "PNG")
        write_atomic(saved.sheet, picture.getvalue())
    except OSError as e:
        raise InputError("filename_prefix", str(folder), f"The files cannot be written ({e.strerror or e}).") from e
    return saved


def _records_with_files(table: ScoreTable, stem: str) -> list[dict[str, Any]]:
    records = table.records()
    digits = max(2, len(str(len(records))))
    for place, record in enumerate(records, start=1):
        seed = "" if record["seed"] is None else f"_seed{record['seed']}"
        record["file"] = f"{stem}{place:0{digits}}{seed}.png"
    return records


def _png(table: ScoreTable, i: int, record: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    info = PngInfo()
    for key, value in metadata.items():
        info.add_text(key, json.dumps(value))
    info.add_text(METADATA_KEY, to_json(record))
    data = io.BytesIO()
    to_pil(table.pictures.picture(i)).save(data, "PNG", pnginfo=info, compress_level=4)
    return data.getvalue()


def to_json(content: Any) -> str:
    """Strict JSON, readable: NaN is an error, not a word no parser knows."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(records: list[dict[str, Any]]) -> str:
    """Columns rank, score, seed, prompt, file, then each reward. Texts cannot become formulas."""
    names = list(records[0]["scores"]) if records else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "score", "seed", "prompt", "file", *map(_plain, names)])
    for record in records:
        row = [
            record["rank"],
            record["score"],
            record["seed"],
            _plain(record["prompt"]),
            _plain(record["file"]),
        ]
        writer.writerow([*row, *record["scores"].values()])
    return text.getvalue()


def _plain(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA_STARTS) else text

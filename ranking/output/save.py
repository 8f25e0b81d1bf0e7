"""A ranked table as files: pictures with their record, a CSV, a JSON, a sheet and a page. Every write is atomic."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL.PngImagePlugin import PngInfo

from ...core.errors import InputError
from ...core.files import flush_system, sweep, unwritable, write_atomic
from ...core.progress import Progress
from ...core.texts import spreadsheet_text
from ...images.convert import to_pil
from ...images.decode import PictureError
from ...images.jpeg import with_rating
from ...images.limits import MAX_PICTURE_BYTES
from ...images.pictures import Pictures
from ...images.png import SIGNATURE, PngError, read_png, with_text
from ...images.prompts import METADATA_KEY, SHEET_KEY
from ...images.xmp import XMP_KEY, xmp_packet
from ..table import ScoreTable
from .page import page
from .sheet import sheet

PARTS = ("pictures", "csv", "json", "sheet", "html")
_FLUSHED_ALONE = 32  # pictures that wait for the disk one by one; of more all are flushed in one call
_ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"BM": ".bmp"}


class SavedTable(NamedTuple):
    """Paths of what was written, None for what was not asked for; `pictures` in the table's order."""

    pictures: list[Path]
    csv: Path | None = None
    json: Path | None = None
    sheet: Path | None = None
    html: Path | None = None


def save_table(
    table: ScoreTable,
    folder: Path,
    stem: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    parts: Collection[str] = PARTS,
    progress: Progress | None = None,
) -> SavedTable:
    """Save a table under `folder`, every name starting with `stem`.

    Pictures of a batch become PNGs. Pictures from files keep every byte they had: a PNG gets its record as one
    more text, a JPEG, WebP or BMP is copied as it is, and its record is in the lists. Stars stand in PNGs and JPEGs as
    photo tools read them.

    Args:
        table: ranked, in the order the files should sort.
        metadata: JSON-able text chunks for every new PNG (ComfyUI's `prompt` and `workflow`). Pictures from files
            keep their own.
        parts: which of `PARTS` to write.
        progress: counts the pictures written; what it raises stops the saving.

    Raises:
        InputError: nothing to write, an unknown part, a picture's file that is gone, a folder that cannot be written.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise InputError("parts", unknown or "nothing", f"Pick at least one of {', '.join(PARTS)}.")
    if not len(table):
        raise InputError("scores", "no rows", "There is nothing to save.")
    records = table.records()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        pictures = []
        if "pictures" in parts:
            pictures = _save_pictures(table, folder, stem, records, metadata or {}, progress or Progress())
        files = [path.name for path in pictures] or None
        made: dict[str, tuple[str, Callable[[], bytes]]] = {
            "csv": ("ranking.csv", lambda: to_csv(records).encode("utf-8-sig")),
            "json": ("ranking.json", lambda: to_json(records).encode("utf-8")),
            "sheet": ("sheet.png", lambda: _sheet(table)),
            "html": ("ranking.html", lambda: page(table, files).encode("utf-8")),
        }
        paths = {}
        for part, (name, make) in made.items():
            if part in parts:
                paths[part] = folder / f"{stem}{name}"
                write_atomic(paths[part], make())
    except OSError as e:
        advice = f"The files cannot be written ({unwritable(e)}). Make room, or give the right to write."
        raise InputError("filename_prefix", stem, advice) from e
    return SavedTable(pictures, **paths)


def _save_pictures(
    table: ScoreTable,
    folder: Path,
    stem: str,
    records: list[dict[str, Any]],
    metadata: Mapping[str, Any],
    progress: Progress,
) -> list[Path]:
    """Write the pictures, named so that they sort by rank; each record learns its file."""
    digits = max(2, len(str(len(records))))
    paths, many = [], len(records) > _FLUSHED_ALONE
    progress.phase("saving", len(records))
    for i, record in enumerate(records):
        seed = "" if record["seed"] is None else f"_seed{record['seed']}"
        name = f"{stem}{i + 1:0{digits}}{seed}"
        data = _copy(table.pictures, i, record, name)
        if data is None:
            record["file"] = f"{name}.png"
            data = _png(table, i, record, metadata)
        paths.append(folder / record["file"])
        write_atomic(paths[-1], data, durable=not many)
        progress.advance()
    if many:
        flush_system()  # before the lists that name them
    return paths


def _copy(pictures: Pictures, i: int, record: dict[str, Any], name: str) -> bytes | None:
    """Return a file's bytes, of a PNG with the record put in; None of a picture in memory.

    Stars go into PNGs and JPEGs. Raises InputError for one that is gone.
    """
    try:
        file = pictures.open(i)
        if file is None:
            return None
        with file:
            head = file.read(8)
            ending = next((ending for start, ending in _ENDINGS.items() if head.startswith(start)), "")
            record["file"] = name + ending
            if head == SIGNATURE:
                return _rated(with_text(file, METADATA_KEY, to_json(record)), record)
            file.seek(0)
            data = file.read(MAX_PICTURE_BYTES)  # reading its folder has refused larger ones
            return with_rating(data, record["stars"]) if ending == ".jpg" and record.get("stars") else data
    except (OSError, PngError, PictureError) as e:
        why = (e.strerror or e) if isinstance(e, OSError) else e
        raise InputError("scores", pictures.name(i), f"This picture's file cannot be read any more ({why}).") from e


def _rated(png: bytes, record: Mapping[str, Any]) -> bytes:
    """Return a PNG with the record's stars as photo tools read them. Raises PngError."""
    if not record.get("stars"):
        return png
    file = io.BytesIO(png)
    before = read_png(file, (XMP_KEY,)).texts.get(XMP_KEY, "")
    return with_text(file, XMP_KEY, xmp_packet(record["stars"], before), international=True)


def _png(table: ScoreTable, i: int, record: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    info = PngInfo()
    for key, value in metadata.items():
        info.add_text(_keyword(key), json.dumps(value))
    info.add_text(METADATA_KEY, to_json(record))
    if record.get("stars"):
        info.add_itxt(XMP_KEY, xmp_packet(record["stars"]))
    data = io.BytesIO()
    to_pil(table.pictures.picture(i)).save(data, "PNG", pnginfo=info, compress_level=4)
    return data.getvalue()


def _keyword(key: object) -> str:
    """Return a PNG's keyword: 1 to 79 characters of Latin-1 (W3C PNG, 11.3.4.2). Raises InputError for what is none."""
    if isinstance(key, str) and 0 < len(key) < 80 and key.isprintable() and all(ord(c) < 256 for c in key):
        return key
    raise InputError("extra_pnginfo", key, "A name in it cannot stand in a PNG: use 1 to 79 Latin letters.")


def _sheet(table: ScoreTable) -> bytes:
    info, data = PngInfo(), io.BytesIO()
    info.add_text(SHEET_KEY, "a contact sheet")
    sheet(table).save(data, "PNG", pnginfo=info)
    return data.getvalue()


def to_json(content: Any) -> str:
    """Write strict JSON, readable: NaN is an error, not a word no parser knows."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(records: list[dict[str, Any]]) -> str:
    """Write columns rank, score, bucket, seed, prompt, file, name, stars if there are any, then each reward.

    Texts cannot become formulas.
    """
    names = list(records[0]["scores"]) if records else []
    rated = ["stars"] if records and "stars" in records[0] else []
    text = io.StringIO()
    # a line ends as RFC 4180 has it, and what holds either half of that is quoted: neither begins a line of its own
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(
        ["rank", "score", "bucket", "seed", "prompt", "file", "name", *rated, *map(spreadsheet_text, names)]
    )
    for record in records:
        words = [spreadsheet_text(record.get(key) or "") for key in ("prompt", "file", "name")]
        row = [record["rank"], record["score"], record["bucket"], record["seed"], *words]
        writer.writerow([*row, *(record[key] for key in rated), *record["scores"].values()])
    return text.getvalue()

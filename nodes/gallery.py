"""What galleries and culling views show: one row a picture, with a small copy in the host's temp folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import TastemakerError
from ..core.texts import shortened
from ..images.thumbnails import THUMBNAIL_SIDE, VIEW_SIDE, encoded, preview, thumbnail
from ..ranking.kendall import agreements, sampled
from ..ranking.marks import Marks
from ..ranking.selection import BUCKETS, ID_LENGTH, Picks
from . import host

if TYPE_CHECKING:
    from ..images.pictures import Pictures
    from ..ranking import ScoreTable

MAX_ROWS = 2000
MAX_SHOWN = 500  # of them in the node; the culling view has all
MAX_VIEWS = 100  # large copies of pictures that are no files the page could open
MAX_SHOWN_PROMPT = 1000  # characters; the table keeps all of them
MAX_COMPARED = 2000  # rows for the agreement of two columns, which looks at every pair of rows
MAX_COLUMNS_COMPARED = 6
_PAUSE = 0.1  # seconds between two messages of progress: each costs more than reading a small file


def gallery_rows(ranked: ScoreTable, kept: list[int]) -> list[dict[str, Any]]:
    """Return rows for the page, the first 2,000 of a table, without picks and stars.

    Writes small copies, each once; may raise a cancel.
    """
    count = min(len(ranked), MAX_ROWS)
    chosen, progress = set(kept), host.HostProgress()
    progress.phase("pictures", count)
    rows = []
    for i, record in enumerate(ranked.rows(range(count)).records()):
        key, shown = _shown(ranked.pictures, i)
        rows.append(
            {
                **_worded(record),
                **shown,
                **_carried(ranked.stars, ranked.picked, i),
                "id": key[:ID_LENGTH],
                "kept": i in chosen,
            }
        )
        progress.advance()
    return rows


def cull_rows(
    pictures: Pictures,
    records: Sequence[Mapping[str, Any]],
    *,
    stars: Sequence[int] | None = None,
    picked: Sequence[bool] | None = None,
) -> list[dict[str, Any]]:
    """Return rows for the culling view of a node that ranks nothing, the first 2,000, in their order.

    Files that the page can open need no copies: only those that are seen are opened. `stars` and `picked` are what the
    pictures came with. May raise a cancel.
    """
    progress, rows = host.HostProgress(_PAUSE), []
    progress.phase("pictures", min(len(records), MAX_ROWS))
    for i, record in enumerate(records[:MAX_ROWS]):
        key, shown = _shown(pictures, i, copy_files=False)
        rows.append({**_worded(record), **shown, **_carried(stars, picked, i), "id": key[:ID_LENGTH]})
        progress.advance()
    return rows


def with_marks(rows: list[dict[str, Any]], found: Marks) -> list[dict[str, Any]]:
    """Return rows with the marks that the node sends on, which the page compares with those it has."""
    return [row | {"stars": found.stars[i], "picked": found.picked[i]} for i, row in enumerate(rows)]


def _worded(record: Mapping[str, Any]) -> dict[str, Any]:
    seed = record["seed"]
    return {
        **record,
        "prompt": shortened(str(record["prompt"]), MAX_SHOWN_PROMPT),
        "seed_text": "" if seed is None else str(seed),  # the page's numbers end at 2**53
    }


def _carried(stars: Sequence[int] | None, picked: Sequence[bool] | None, i: int) -> dict[str, Any]:
    """Return what a row came with, which holds until somebody marks it in the page; nothing where it has no marks."""
    rating, chosen = stars[i] if stars else 0, bool(picked and picked[i])
    return {"carried": {"stars": rating, "picked": chosen}} if rating or chosen else {}


def _shown(pictures: Pictures, i: int, *, copy_files: bool = True) -> tuple[str, dict[str, Any]]:
    """Return a picture's key, and its `thumb` and `view`: the small copy, and the picture itself or a large copy.

    Without `copy_files`, a large file that the page can open has no small copy unless another node has made it: the
    page makes one when it is seen.
    A file that has gone since it was scored has neither, and no key, so nothing can pick it.
    """
    try:
        key = pictures.key(i)
        path = pictures.file(i)
        view = host.view_entry(path) if path is not None else None
        name = f"{key}_{THUMBNAIL_SIDE}"
        thumb = host.known_picture(name) if view is not None and not copy_files else None
        if thumb is None and (view is None or copy_files):
            thumb = host.temp_picture(name, lambda: _small(pictures, i, THUMBNAIL_SIDE))
        large = max(pictures.size(i)) > THUMBNAIL_SIDE
        if view is None and large and i < MAX_VIEWS:
            view = host.temp_picture(f"{key}_{VIEW_SIDE}", lambda: _small(pictures, i, VIEW_SIDE))
    except TastemakerError:
        return "", {"thumb": None, "view": None}
    return key, {"thumb": thumb or (None if large else view), "view": view or thumb}


def _small(pictures: Pictures, i: int, side: int) -> tuple[bytes, str]:
    """Return a copy's data and extension: as it is when it fits, else a JPEG."""
    if max(pictures.size(i)) <= side:
        return preview(pictures.picture(i), side)
    return encoded(thumbnail(pictures, i, side)), "jpg"


def agreement_rows(ranked: ScoreTable) -> list[dict[str, Any]]:
    """Say how far every two columns agree (Kendall's tau), inside each group. Of a large table, some rows count."""
    names = list(ranked.scores)[:MAX_COLUMNS_COMPARED]
    if len(names) < 2:
        return []
    groups = ranked.prompts if ranked.group_by == "prompt" else (None,) * len(ranked)
    rows = sampled(groups, MAX_COMPARED)
    found = agreements({name: ranked.scores[name][rows] for name in names}, [groups[i] for i in rows])
    return [{"first": a, "second": b, "tau": tau, "of": len(rows)} for (a, b), tau in found.items()]


def summary(
    ranked: ScoreTable, rows: list[dict[str, Any]], kept: int, picked: Picks, marks: Marks, notes: list[str]
) -> dict[str, Any]:
    """Return what the page says about the whole table."""
    notes = list(notes)
    gone = sum(not row["id"] for row in rows)
    if gone:
        notes.append(f"{gone} pictures can no longer be read; their files were changed or removed after scoring.")
    if len(rows) > MAX_SHOWN:
        culled = "has all" if len(rows) == len(ranked) else f"has the first {len(rows):,}, the scores outputs have all"
        notes.append(f"The gallery shows the first {MAX_SHOWN} of {len(ranked):,} pictures; Cull {culled}.")
    if picked.missing:
        notes.append(f"{picked.missing} picked before are not among these pictures.")
    if picked.unreadable:
        notes.append(f"{picked.unreadable} words in picks are no picture ids and are left out.")
    notes += said_of(marks)
    return {
        "total": len(ranked),
        "shown": MAX_SHOWN,
        "kept": kept,
        "picked": len(picked.rows),
        "main": ranked.main,
        "columns": list(ranked.scores),
        "group_by": ranked.group_by,
        "buckets": {name: (ranked.buckets or ()).count(name) for name in BUCKETS},
        "agreement": agreement_rows(ranked),
        "notes": notes,
    }


def said_of(marks: Marks) -> list[str]:
    """Say which marks of a widget came to nothing, a line each."""
    lines = []
    if marks.missing:
        lines.append(f"{marks.missing} with stars or rejected before are not among these pictures.")
    if marks.unreadable:
        lines.append(f"{marks.unreadable} words in marks are no marks and are left out.")
    return lines

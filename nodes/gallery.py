"""What the gallery on the Rank node shows: one row a picture, with a small copy in the host's temp folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.errors import TastemakerError
from ..core.texts import shortened
from ..images.thumbnails import THUMBNAIL_SIDE, VIEW_SIDE, encoded, preview, thumbnail
from ..ranking.kendall import agreements, sampled
from ..ranking.marks import Marks
from ..ranking.selection import BUCKETS, ID_LENGTH, Picks
from . import host

if TYPE_CHECKING:
    from ..ranking import ScoreTable

MAX_ROWS = 2000
MAX_SHOWN = 500  # of them in the node; the culling view has all
MAX_VIEWS = 100  # large copies of pictures that are no files the page could open
MAX_SHOWN_PROMPT = 1000  # characters; the table keeps all of them
MAX_COMPARED = 2000  # rows for the agreement of two columns, which looks at every pair of rows
MAX_COLUMNS_COMPARED = 6


def gallery_rows(ranked: ScoreTable, kept: list[int]) -> list[dict[str, Any]]:
    """Return rows for the page, the first 2,000 of a table, without picks and stars.

    Writes small copies, each once; may raise a cancel.
    """
    count = min(len(ranked), MAX_ROWS)
    chosen, progress = set(kept), host.HostProgress()
    progress.phase("pictures", count)
    rows = []
    for i, record in enumerate(ranked.rows(range(count)).records()):
        key, shown = _shown(ranked, i)
        seed = record["seed"]
        rows.append(
            {
                **record,
                **shown,
                "prompt": shortened(str(record["prompt"]), MAX_SHOWN_PROMPT),
                "seed_text": "" if seed is None else str(seed),  # the page's numbers end at 2**53
                "id": key[:ID_LENGTH],
                "kept": i in chosen,
            }
        )
        progress.advance()
    return rows


def _shown(ranked: ScoreTable, i: int) -> tuple[str, dict[str, Any]]:
    """Return a picture's key, and its `thumb` and `view`: the small copy, and the picture itself or a large copy.

    A file that has gone since it was scored has neither, and no key, so nothing can pick it.
    """
    try:
        key = ranked.pictures.key(i)
        thumb = host.temp_picture(f"{key}_{THUMBNAIL_SIDE}", lambda: _small(ranked, i, THUMBNAIL_SIDE))
        path = ranked.pictures.file(i)
        view = host.view_entry(path) if path is not None else None
        large = max(ranked.pictures.size(i)) > THUMBNAIL_SIDE
        if view is None and large and i < MAX_VIEWS:
            view = host.temp_picture(f"{key}_{VIEW_SIDE}", lambda: _small(ranked, i, VIEW_SIDE))
    except TastemakerError:
        return "", {"thumb": None, "view": None}
    return key, {"thumb": thumb, "view": view or thumb}


def _small(ranked: ScoreTable, i: int, side: int) -> tuple[bytes, str]:
    """Return a copy's data and extension: as it is when it fits, else a JPEG."""
    if max(ranked.pictures.size(i)) <= side:
        return preview(ranked.pictures.picture(i), side)
    return encoded(thumbnail(ranked.pictures, i, side)), "jpg"


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
    ranked: ScoreTable, rows: list[dict[str, Any]], kept: int, picked: Picks, marked: Marks, notes: list[str]
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
    if marked.missing:
        notes.append(f"{marked.missing} with stars or rejected before are not among these pictures.")
    if marked.unreadable:
        notes.append(f"{marked.unreadable} words in marks are no marks and are left out.")
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

"""What the gallery on the Rank node shows: one row a picture, with a small copy in the host's temp folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..rewards.selection import BUCKETS, ID_LENGTH, Picks
from ..rewards.thumbnails import THUMBNAIL_SIDE, VIEW_SIDE, preview
from . import host

if TYPE_CHECKING:
    from PIL import Image

    from ..rewards import ScoreTable

MAX_ROWS = 500
MAX_VIEWS = 100  # large copies of pictures that are no files the page could open
MAX_SHOWN_PROMPT = 1000  # characters; the table keeps all of them


def gallery_rows(ranked: ScoreTable, kept: list[int]) -> list[dict[str, Any]]:
    """Rows for the page: the first 500 of a ranked table. Writes small copies, each once; may raise a cancel."""
    count = min(len(ranked), MAX_ROWS)
    chosen, progress = set(kept), host.Progress(count)
    rows = []
    for i, record in enumerate(ranked.rows(range(count)).records()):
        key = ranked.pictures.key(i)
        shown = _pictures(ranked, i, key)
        seed = record["seed"]
        rows.append(
            {
                **record,
                **shown,
                "prompt": _shortened(str(record["prompt"])),
                "seed_text": "" if seed is None else str(seed),  # the page's numbers end at 2**53
                "id": key[:ID_LENGTH],
                "kept": i in chosen,
                "picked": False,
            }
        )
        progress.update(i + 1)
    return rows


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_PROMPT else f"{text[:MAX_SHOWN_PROMPT]}... ({len(text)} characters)"


def _pictures(ranked: ScoreTable, i: int, key: str) -> dict[str, Any]:
    """`thumb` and `view`: the small copy, and the picture itself or a large copy, as the page asks for files."""
    path = _path(ranked, i)
    view = host.view_entry(path) if path is not None else None
    thumb = host.temp_picture(f"{key}_{THUMBNAIL_SIDE}", lambda: preview(ranked.pictures.picture(i), THUMBNAIL_SIDE))
    if view is None and i < MAX_VIEWS and thumb["filename"].endswith(".jpg"):  # a PNG is the picture itself
        view = host.temp_picture(f"{key}_{VIEW_SIDE}", lambda: preview(ranked.pictures.picture(i), VIEW_SIDE))
    return {"thumb": thumb, "view": view or thumb}


def _path(ranked: ScoreTable, i: int) -> Path | None:
    found = getattr(ranked.pictures, "path", None)
    return Path(found(i)) if callable(found) else None


def summary(ranked: ScoreTable, shown: int, kept: int, picked: Picks, notes: list[str]) -> dict[str, Any]:
    """What the page says about the whole table."""
    notes = list(notes)
    if shown < len(ranked):
        notes.append(f"The gallery shows the first {shown} of {len(ranked):,} pictures; the scores outputs have all.")
    if picked.missing:
        notes.append(f"{picked.missing} picked before are not among these pictures.")
    if picked.unreadable:
        notes.append(f"{picked.unreadable} words in picks are no picture ids and are left out.")
    return {
        "total": len(ranked),
        "kept": kept,
        "picked": len(picked.rows),
        "main": ranked.main,
        "columns": list(ranked.scores),
        "group_by": ranked.group_by,
        "buckets": {name: (ranked.buckets or ()).count(name) for name in BUCKETS},
        "notes": notes,
    }


def as_image(picture: Image.Image) -> torch.Tensor:
    """A picture as the host's IMAGE: float32 (1, H, W, 3)."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]

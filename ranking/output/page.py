"""A ranked table as one HTML file to look through and share: everything inside it, nothing from the network.

The texts in it come from strangers. They go in as JSON that no HTML parser can leave, the script puts them on
the page as text only, and a content security policy names the one script and style that may run.
"""

from __future__ import annotations

import base64
from typing import Any

from ...images.decode import PictureError
from ...images.thumbnails import encoded, thumbnail
from ...plots.html import render
from ..table import ScoreTable

MAX_PICTURES = 500  # the first of a ranked table; about 10 MB
SIDE = 384  # of the small copies in the page


def page(table: ScoreTable, files: list[str] | None = None, *, title: str = "") -> str:
    """Make a ranked table an HTML page: its first 500 pictures, small, with rank, scores, seed and prompt.

    Args:
        table: ranked, best first.
        files: the saved picture of each row, beside the page; the page links to it. None: there are none.
        title: empty is made from the table.
    """
    shown = table.rows(range(min(len(table), MAX_PICTURES)))
    title = title or f"{len(table):,} pictures ranked by {table.main}"
    content = {
        "title": title,
        "total": len(table),
        "main": table.main,
        "columns": list(table.scores),
        "rows": [_row(shown, i, record, files) for i, record in enumerate(shown.records())],
    }
    return render("page.html", style="page.css", script="page.js", data=content, title=title)


def _row(shown: ScoreTable, i: int, record: dict[str, Any], files: list[str] | None) -> dict[str, Any]:
    try:
        data = base64.b64encode(encoded(thumbnail(shown.pictures, i, SIDE))).decode()
    except PictureError:  # gone since it was scored; its scores are still worth showing
        data = ""
    height, width = shown.pictures.size(i)
    seed = record["seed"]
    return {
        **record,
        "seed": "" if seed is None else str(seed),  # a script's numbers end at 2**53
        "file": files[i] if files else "",
        "size": [width, height],
        "thumb": data,
    }

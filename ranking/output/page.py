"""A ranked table as one HTML file to look through and share: everything inside it, nothing from the network.

The texts in it come from strangers. They go in as JSON that no HTML parser can leave, the script puts them on
the page as text only, and a content security policy names the one script and style that may run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from typing import Any

from ...core.assets import asset_folder
from ...images.decode import PictureError
from ...images.thumbnails import encoded, thumbnail
from ..table import ScoreTable

MAX_PICTURES = 500  # the first of a ranked table; about 10 MB
SIDE = 384  # of the small copies in the page


def page(table: ScoreTable, files: list[str] | None = None, *, title: str = "") -> str:
    """A ranked table as an HTML page: its first 500 pictures, small, with rank, scores, seed and prompt.

    Args:
        table: ranked, best first.
        files: the saved picture of each row, beside the page; the page links to it. None: there are none.
        title: empty is made from the table.
    """
    assets = asset_folder("page")
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    shown = table.rows(range(min(len(table), MAX_PICTURES)))
    title = title or f"{len(table):,} pictures ranked by {table.main}"
    content = {
        "title": title,
        "total": len(table),
        "main": table.main,
        "columns": list(table.scores),
        "rows": [_row(shown, i, record, files) for i, record in enumerate(shown.records())],
    }
    filled = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; img-src data:; style-src {policy_hash(style)}; "
        f"script-src {policy_hash(script)}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "data": _json(content),
    }
    # one pass, so that nothing put in is read as a place to fill
    template = (assets / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match.group(1)], template)


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


def _json(content: Any) -> str:
    """JSON that can stand in a script element: no character of it means anything to an HTML parser."""
    text = json.dumps(content, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def policy_hash(text: str) -> str:
    """How a content security policy names a script or style that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

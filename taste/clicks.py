"""Clicks: which picture of a grid a person picked. As the page sends them, and as a taste keeps them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..core.errors import InputError
from ..core.files import parse_json

KINDS = ("telling", "random", "repeat", "liked", "voted")  # how a grid came to be asked
MAX_CLICKS = 5000
MAX_GRID = 12
_ID = re.compile(r"[0-9a-f]{8,64}")
_LATEST = 2**53 - 1  # what the page can count to
_ADVICE = "The page fills this in. Clear the clicks of this node and click again."


class Click(NamedTuple):
    """One answer.

    Attributes:
        shown: ids of the pictures of the grid.
        picked: one of them; empty for none.
        kind: one of `KINDS`.
        at: milliseconds since 1970; with `shown`, what tells two answers apart.
    """

    shown: tuple[str, ...]
    picked: str
    kind: str
    at: int


def parse_clicks(text: object) -> list[Click]:
    """Read the clicks widget: `{"version": 1, "clicks": [[[id, ...], picked, kind, ms], ...]}`; empty is no click.

    Raises InputError for anything else: whoever shares a workflow can set it.
    """
    if not isinstance(text, str):
        raise InputError("clicks", text, _ADVICE)
    if len(text) > MAX_CLICKS * 250:
        raise InputError("clicks", f"{len(text):,} characters", f"At most {MAX_CLICKS:,} clicks fit into the node.")
    if not text.strip():
        return []
    try:
        found = parse_json(text)
    except ValueError as e:
        raise InputError("clicks", text, _ADVICE) from e
    rows = found.get("clicks") if isinstance(found, dict) and found.get("version") == 1 else None
    if not isinstance(rows, list) or len(rows) > MAX_CLICKS:
        raise InputError("clicks", text, _ADVICE)
    return [_click(row) for row in rows]


def _click(row: Any) -> Click:
    if not isinstance(row, list) or len(row) != 4:
        raise InputError("clicks", row, _ADVICE)
    shown, picked, kind, at = row
    ids = isinstance(shown, list) and all(isinstance(one, str) and _ID.fullmatch(one) for one in shown)
    grid = ids and 2 <= len(shown) <= MAX_GRID and len(set(shown)) == len(shown)
    when = isinstance(at, int) and not isinstance(at, bool) and 0 <= at <= _LATEST
    if not grid or not (picked == "" or picked in shown) or kind not in KINDS or not when:
        raise InputError("clicks", row, _ADVICE)
    return Click(tuple(shown), picked, kind, at)

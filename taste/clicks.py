"""Clicks: which picture of a grid a person picked. As the page sends them, and as a taste keeps them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.errors import InputError
from ..core.files import parse_json

KINDS = ("telling", "random", "repeat", "liked", "voted", "starred")  # how a grid came to be asked
MAX_CLICKS = 5000
MAX_GRID = 12
_ID = re.compile(r"[0-9a-f]{8,64}")
_PICKED = 6  # as a number of stars
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


def clicks_of_marks(ids: Sequence[str], stars: Sequence[int], picked: Sequence[bool]) -> list[Click]:
    """Return marks by hand as clicks: each marked picture was picked among up to five that have fewer stars.

    A pick is more than five stars, a rejection (-1) less than one; where nothing has less than a pick, it was picked
    among pictures without marks. The same marks give the same clicks.
    """
    levels = {
        one: _PICKED if chosen else rating
        for one, rating, chosen in zip(ids, stars, picked, strict=True)
        if rating or chosen
    }
    unmarked = [one for one in ids if one not in levels]
    clicks = []
    for number, (one, level) in enumerate(sorted(levels.items())):
        lower = sorted(other for other, theirs in levels.items() if theirs < level)
        others = lower or (unmarked if level == _PICKED else [])
        grid = dict.fromkeys(others[(number * 5 + k) % len(others)] for k in range(min(5, len(others))))
        if grid:
            clicks.append(Click((one, *grid), one, "starred", 0))
    return clicks

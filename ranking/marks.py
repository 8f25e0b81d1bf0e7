"""Stars, picks and rejections by hand: read from a widget's text, found in a table. Torch on first use only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..core.errors import InputError
from .selection import ID_LENGTH, places_of

if TYPE_CHECKING:
    from ..images.pictures import Pictures
    from .table import ScoreTable

MAX_MARKS = 4096
REJECTED = -1  # the rating of a rejected picture, whatever its stars: as photo tools have it (xmp:Rating)
_MARK = re.compile(rf"([0-9a-f]{{{ID_LENGTH}}}):([0-5])([xp]?)")


class Mark(NamedTuple):
    """What a person said of a picture: 1 to 5 stars, 0 without any, -1 rejected; and whether it is picked."""

    stars: int = 0
    picked: bool = False


class Marks(NamedTuple):
    """Marks by hand, as found in a table, one for each row."""

    stars: tuple[int, ...]
    picked: tuple[bool, ...]
    missing: int  # ids that no picture has
    unreadable: int  # words that are no marks


def parse_marks(text: str) -> tuple[dict[str, Mark], int]:
    """Read a marks widget, words such as `0123456789abcdef:4`; a `p` behind it is a pick, an `x` a rejection.

    Returns a mark for each id, and how many words are no marks; of an id that comes twice the last one counts. `:0` is
    a mark too: it takes back what came with a table.
    Raises InputError for no text, or one longer than all marks take.
    """
    if not isinstance(text, str):
        raise InputError("marks", text, "It is a list of picture ids with their stars, which the culling view fills.")
    if len(text) > MAX_MARKS * (ID_LENGTH + 5):
        raise InputError("marks", f"{len(text):,} characters", f"There can be at most {MAX_MARKS:,} marks.")
    marks, unreadable = {}, 0
    for word in text.replace(",", " ").split():
        found = _MARK.fullmatch(word)
        if found is None:
            unreadable += 1
            continue
        name, stars, flag = found.groups()
        marks[name] = Mark(REJECTED if flag == "x" else int(stars), flag == "p")
    return marks, unreadable


def find_marks(
    pictures: Pictures,
    text: str,
    known: Sequence[str] = (),
    *,
    stars: Sequence[int] | None = None,
    picked: Sequence[bool] | None = None,
) -> Marks:
    """Find the rows that a marks widget names; `known` are the ids of the first rows, as for `find_picks`.

    `stars` and `picked` are what the rows came with: a row that the widget names has the widget's mark alone.
    """
    marks, unreadable = parse_marks(text)
    rated = list(stars) if stars is not None else [0] * len(pictures)
    chosen = list(picked) if picked is not None else [False] * len(pictures)
    places = places_of(pictures, frozenset(marks), known)
    for name, rows in places.items():
        for i in rows:
            rated[i], chosen[i] = marks[name]
    missing = sum(mark != Mark() for name, mark in marks.items() if name not in places)
    return Marks(tuple(rated), tuple(chosen), missing, unreadable)


def marked(table: ScoreTable, text: str, known: Sequence[str] = ()) -> tuple[ScoreTable, Marks]:
    """Return a table with the marks of a widget over those it came with, and what was found."""
    found = find_marks(table.pictures, text, known, stars=table.stars, picked=table.picked)
    stars = found.stars if any(found.stars) else None
    return replace(table, stars=stars, picked=found.picked if any(found.picked) else None), found

"""Stars and rejections by hand: read from a widget's text, found in a table. Torch on first use only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..core.errors import InputError
from .selection import ID_LENGTH, places_of

if TYPE_CHECKING:
    from ..images.pictures import Pictures

MAX_MARKS = 4096
REJECTED = -1  # the rating of a rejected picture, whatever its stars: as photo tools have it (xmp:Rating)
_MARK = re.compile(rf"([0-9a-f]{{{ID_LENGTH}}}):([0-5])(x?)")


class Marks(NamedTuple):
    """Marks by hand, as found in a table."""

    stars: tuple[int, ...]  # of each row: 1 to 5, 0 without any, -1 rejected
    missing: int  # ids that no picture has
    unreadable: int  # words that are no marks


def parse_marks(text: str) -> tuple[dict[str, int], int]:
    """Read a marks widget, words such as `0123456789abcdef:4` or `...:0x` for rejected, to a rating for each id.

    Returns the ratings, 1 to 5 or -1, and how many words are no marks; of an id that comes twice the last one counts.
    Raises InputError for no text, or one longer than all marks take.
    """
    if not isinstance(text, str):
        raise InputError("marks", text, "It is a list of picture ids with their stars, which the culling view fills.")
    if len(text) > MAX_MARKS * (ID_LENGTH + 5):
        raise InputError("marks", f"{len(text):,} characters", f"There can be at most {MAX_MARKS:,} marks.")
    ratings, unreadable = {}, 0
    for word in text.replace(",", " ").split():
        found = _MARK.fullmatch(word)
        if found is None:
            unreadable += 1
            continue
        name, stars, rejected = found.groups()
        ratings[name] = REJECTED if rejected else int(stars)
    return {name: rating for name, rating in ratings.items() if rating}, unreadable


def find_marks(pictures: Pictures, text: str, known: Sequence[str] = ()) -> Marks:
    """Find the rows that a marks widget names; `known` are the ids of the first rows, as for `find_picks`."""
    ratings, unreadable = parse_marks(text)
    stars = [0] * len(pictures)
    places = places_of(pictures, frozenset(ratings), known)
    for name, rows in places.items():
        for i in rows:
            stars[i] = ratings[name]
    return Marks(tuple(stars), len(ratings) - len(places), unreadable)

"""Settings of Rank, and which rows it keeps: top-k, buckets and picks by hand. Torch on first use only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..core.errors import InputError, TastemakerError
from ..core.settings import check_fields, setting
from ..images.limits import SIZES

if TYPE_CHECKING:
    from ..images.pictures import Pictures

GROUPINGS = ("prompt", "all")
BUCKETS = ("great", "ok", "bad")  # best first
BUCKETINGS = ("thirds", "scores")
KEEPS = ("all", "ok", "great")
MAX_TOP_K = 4096
MAX_SCORE = 1e6
ID_LENGTH = 16
MAX_PICKS = 4096
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


@dataclass(frozen=True)
class RankOptions:
    """How to rank and what to keep.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    top_k: int = setting(4, "How many of the best to keep, of each group. 0 keeps all, sorted.", low=0, high=MAX_TOP_K)
    group_by: str = setting(
        "prompt", "prompt: the best of each prompt. all: the best of the whole batch.", options=GROUPINGS
    )
    rank_by: str = setting("", "The score that ranks, by its column's name. Empty: the reward's own score.")
    keep: str = setting(
        "all",
        "What top_k picks from. all: every picture. ok: great and ok ones. great: only those. With buckets on "
        "scores, ok_from is the lowest score kept.",
        options=KEEPS,
    )
    buckets: str = setting(
        "thirds",
        "What great, ok and bad mean. thirds: the best, middle and last third of each group. "
        "scores: by great_from and ok_from.",
        options=BUCKETINGS,
    )
    great_from: float = setting(
        1.0, "Scores from here are great, when buckets is scores.", low=-MAX_SCORE, high=MAX_SCORE, step=0.05
    )
    ok_from: float = setting(
        0.0,
        "Scores from here are ok, lower ones bad, when buckets is scores.",
        low=-MAX_SCORE,
        high=MAX_SCORE,
        step=0.05,
    )
    sizes: str = setting(
        "each",
        "For pictures of several sizes. each: they leave one after the other, as large as they are. pad: as one batch, "
        "fitted into the first one's size with black borders. crop: as one batch, cut to it. block: as each, its old "
        "name.",
        options=SIZES,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.rank_by, str):
            raise InputError("rank_by", self.rank_by, "It is the name of a score column.")
        if self.great_from < self.ok_from:
            raise InputError("great_from", self.great_from, f"It must not be below ok_from ({self.ok_from}).")


def bucket_of_scores(scores: Iterable[float], great_from: float, ok_from: float) -> tuple[str, ...]:
    """Return great, ok or bad for each score by two thresholds; a score on a threshold belongs above it."""
    return tuple("great" if s >= great_from else "ok" if s >= ok_from else "bad" for s in scores)


def bucket_of_ranks(ranks: Iterable[int], sizes: Iterable[int]) -> tuple[str, ...]:
    """Return great, ok or bad by thirds of each group: rank r of n is great while 3 (r - 1) < n, ok while < 2 n.

    Of one picture it is great, of two great and ok. Ties share a rank, so they share a bucket.
    """
    return tuple(BUCKETS[min(3 * (r - 1) // n, 2)] for r, n in zip(ranks, sizes, strict=True))


class Picks(NamedTuple):
    """Picks by hand, as found in a table."""

    rows: list[int]  # places in the table, in its order
    missing: int  # ids that no picture has
    unreadable: int  # words that are no ids


def parse_picks(text: str, name: str = "picks") -> tuple[frozenset[str], int]:
    """Read the ids of the widget `name`, and count the words in it that are none. Raises InputError for no text."""
    if not isinstance(text, str):
        raise InputError(name, text, "It is a list of picture ids, which the gallery fills.")
    if len(text) > MAX_PICKS * (ID_LENGTH + 2):
        raise InputError(name, f"{len(text):,} characters", f"There can be at most {MAX_PICKS:,} picks.")
    words = text.replace(",", " ").split()
    ids = frozenset(word for word in words if _ID.fullmatch(word))
    return ids, sum(not _ID.fullmatch(word) for word in words)


def picture_id(pictures: Pictures, i: int) -> str:
    """Return what a pick is known by: the start of the picture's content key."""
    return pictures.key(i)[:ID_LENGTH]


def find_picks(pictures: Pictures, text: str, known: Sequence[str] = (), *, name: str = "picks") -> Picks:
    """Find the rows whose ids a picks widget, called `name`, names.

    `known` are the ids of the first rows. Equal pictures have equal ids, and are picked together. Rows behind the known
    ones whose id costs reading the picture are looked at only while ids are missing.
    """
    wanted, unreadable = parse_picks(text, name)
    places = places_of(pictures, wanted, known)
    return Picks(sorted(i for rows in places.values() for i in rows), len(wanted) - len(places), unreadable)


def places_of(pictures: Pictures, wanted: frozenset[str], known: Sequence[str] = ()) -> dict[str, list[int]]:
    """Return the rows of each wanted id that is there. `known` as for `find_picks`."""
    places: dict[str, list[int]] = {}
    if not wanted:
        return places
    for i, name in enumerate(known):
        if name in wanted:
            places.setdefault(name, []).append(i)
    missing = set(wanted - places.keys())
    for i in range(len(known), len(pictures)):
        if not missing and pictures.content_key(i) is None:
            continue
        try:
            name = picture_id(pictures, i)
        except TastemakerError:  # a file that has gone has no id
            continue
        if name in wanted:
            places.setdefault(name, []).append(i)
            missing.discard(name)
    return places

"""What Rank is told, and which rows it keeps: top-k, buckets and picks by hand. Torch on first use only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import InputError, TastemakerError
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


def _option(default: Any, tip: str, **limits: Any) -> Any:
    return field(default=default, metadata={"tip": tip, **limits})


@dataclass(frozen=True)
class RankOptions:
    """How to rank and what to keep.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    top_k: int = _option(4, "How many of the best to keep, of each group. 0 keeps all, sorted.", low=0, high=MAX_TOP_K)
    group_by: str = _option(
        "prompt", "prompt: the best of each prompt. all: the best of the whole batch.", options=GROUPINGS
    )
    rank_by: str = _option("", "The score that ranks, by its column's name. Empty: the reward's own score.")
    keep: str = _option(
        "all",
        "What top_k picks from. all: every picture. ok: great and ok ones. great: only those. With buckets on "
        "scores, ok_from is the lowest score kept.",
        options=KEEPS,
    )
    buckets: str = _option(
        "thirds",
        "What great, ok and bad mean. thirds: the best, middle and last third of each group. "
        "scores: by great_from and ok_from.",
        options=BUCKETINGS,
    )
    great_from: float = _option(
        1.0, "Scores from here are great, when buckets is scores.", low=-MAX_SCORE, high=MAX_SCORE, step=0.05
    )
    ok_from: float = _option(
        0.0,
        "Scores from here are ok, lower ones bad, when buckets is scores.",
        low=-MAX_SCORE,
        high=MAX_SCORE,
        step=0.05,
    )
    sizes: str = _option(
        "block",
        "For pictures of several sizes, which one IMAGE cannot hold. block: those outputs stay empty; the scores "
        "still go on. pad: all fitted into the first one's size, with black borders. crop: all cut to it.",
        options=SIZES,
    )

    def __post_init__(self) -> None:
        for name, allowed in (("group_by", GROUPINGS), ("keep", KEEPS), ("buckets", BUCKETINGS), ("sizes", SIZES)):
            if getattr(self, name) not in allowed:
                raise InputError(name, getattr(self, name), f"Pick one of {', '.join(allowed)}.")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or not 0 <= self.top_k <= MAX_TOP_K:
            raise InputError("top_k", self.top_k, f"It must be a whole number from 0 to {MAX_TOP_K}.")
        if not isinstance(self.rank_by, str):
            raise InputError("rank_by", self.rank_by, "It is the name of a score column.")
        for name in ("great_from", "ok_from"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > MAX_SCORE:
                raise InputError(name, value, f"It must be a number from {-MAX_SCORE:,.0f} to {MAX_SCORE:,.0f}.")
        if self.great_from < self.ok_from:
            raise InputError("great_from", self.great_from, f"It must not be below ok_from ({self.ok_from}).")


def bucket_of_scores(scores: Iterable[float], great_from: float, ok_from: float) -> tuple[str, ...]:
    """great, ok or bad for each score by two thresholds; a score on a threshold belongs above it."""
    return tuple("great" if s >= great_from else "ok" if s >= ok_from else "bad" for s in scores)


def bucket_of_ranks(ranks: Iterable[int], sizes: Iterable[int]) -> tuple[str, ...]:
    """great, ok or bad by thirds of each group: rank r of n is great while 3 (r - 1) < n, ok while < 2 n.

    Of one picture it is great, of two great and ok. Ties share a rank, so they share a bucket.
    """
    return tuple(BUCKETS[min(3 * (r - 1) // n, 2)] for r, n in zip(ranks, sizes, strict=True))


class Picks(NamedTuple):
    """Picks by hand, as found in a table."""

    rows: list[int]  # places in the table, in its order
    missing: int  # ids that no picture has
    unreadable: int  # words that are no ids


def parse_picks(text: str) -> tuple[frozenset[str], int]:
    """Ids of a picks widget, and how many words in it are none. Raises InputError for what is no list of ids."""
    if not isinstance(text, str):
        raise InputError("picks", text, "It is a list of picture ids, which the gallery fills.")
    if len(text) > MAX_PICKS * (ID_LENGTH + 2):
        raise InputError("picks", f"{len(text):,} characters", f"There can be at most {MAX_PICKS:,} picks.")
    words = text.replace(",", " ").split()
    ids = frozenset(word for word in words if _ID.fullmatch(word))
    return ids, sum(not _ID.fullmatch(word) for word in words)


def picture_id(pictures: Pictures, i: int) -> str:
    """What a pick is known by: the start of the picture's content key."""
    return pictures.key(i)[:ID_LENGTH]


def find_picks(pictures: Pictures, text: str, known: Sequence[str] = ()) -> Picks:
    """Rows whose ids a picks widget names.

    `known` are the ids of the first rows; of these equal pictures, which have equal ids, are picked together. Rows
    behind them are looked at only while ids are missing: an id costs reading the picture.
    """
    wanted, unreadable = parse_picks(text)
    rows = [i for i, name in enumerate(known) if name in wanted]
    missing = wanted - {known[i] for i in rows}
    for i in range(len(known), len(pictures)):
        if not missing:
            break
        try:
            name = picture_id(pictures, i)
        except TastemakerError:  # a file that has gone has no id
            continue
        if name in wanted:
            rows.append(i)
            missing -= {name}
    return Picks(rows, len(missing), unreadable)

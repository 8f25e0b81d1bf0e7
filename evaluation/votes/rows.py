"""Rows of a study's file, checked as they are read: whoever has the file can write anything into it."""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import NamedTuple

from .votes import FIRST, LATEST, RETRACTED, SECOND, SKIP, TIE, Pair

PICKS = (FIRST, SECOND, TIE, SKIP, RETRACTED)
# what a value raises that is not as it was written
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_TEXTS = ("prompt", "first", "second", "first_picture", "second_picture", "voter", "question")


class VoteRow(NamedTuple):
    """A vote with all that belongs to it, sides resolved."""

    pair: Pair
    voter: str
    question: str
    pick: str
    second_left: bool
    at: int


def read_vote(row: sqlite3.Row) -> VoteRow:
    """Read a vote joined with its pair and ballot. Raises one of `DAMAGED` for what was not written so."""
    if not all(isinstance(row[name], str) and "\0" not in row[name] for name in _TEXTS):
        raise ValueError("a name or prompt is no text")
    if row["pick"] not in PICKS or row["second_left"] not in (0, 1) or not is_time(row["at"]):
        raise ValueError("a pick, a side or a time makes no sense")
    pair = Pair(
        row["prompt"],
        None if row["seed"] is None else int(row["seed"]),
        (row["first"], row["second"]),
        (row["first_picture"], row["second_picture"]),
        read_scores(row["scores"]),
    )
    return VoteRow(pair, row["voter"], row["question"], row["pick"], bool(row["second_left"]), row["at"])


def is_time(value: object) -> bool:
    """Say whether a value is a time in milliseconds."""
    return type(value) is int and 0 <= value <= LATEST


def read_scores(text: object) -> dict[str, tuple[float, float]]:
    """Read reward -> (first's score, second's). Raises one of `DAMAGED` for anything else."""
    found = json.loads(text) if isinstance(text, str) else None
    if not isinstance(found, dict):
        raise ValueError("scores are no record")
    for pair in found.values():
        numbers = isinstance(pair, list) and len(pair) == 2 and all(type(v) in (int, float) for v in pair)
        if not numbers or not all(abs(v) <= sys.float_info.max for v in pair):
            raise ValueError("a score is no number")
    return {name: (float(first), float(second)) for name, (first, second) in found.items()}

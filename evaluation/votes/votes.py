"""Blind votes: pairs of pictures, their shuffled sides, and what the page says about them. Pure functions."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...core.errors import InputError
from ...core.files import parse_json

QUESTIONS = {"aesthetics": "Which picture looks better?", "alignment": "Which picture fits the text better?"}
CHOICES = ("left", "right", "tie", "skip")
RETRACTED = "none"  # what takes a vote back
FIRST, SECOND, TIE, SKIP = "first", "second", "tie", "skip"  # what a choice means once the sides are known

MAX_PAIRS = 500  # shown to a voter at once
MAX_VOTES = 5000  # in the widget
MAX_VOTES_CHARACTERS = 400_000
MAX_MODEL_NAME = 64
LATEST = 2**53  # milliseconds; the page's numbers end there
_TOKEN_LENGTH = 32
_TOKEN = re.compile(rf"[0-9a-f]{{{_TOKEN_LENGTH}}}")


@dataclass(frozen=True)
class Pair:
    """Two models' pictures of one prompt and seed.

    Attributes:
        prompt, seed: what both were made from; seed None where unknown.
        models: the two names in alphabetical order: first and second.
        pictures: content keys (SHA-256) of first's and second's picture.
        scores: reward -> (first's score, second's score).
    """

    prompt: str
    seed: int | None
    models: tuple[str, str]
    pictures: tuple[str, str]
    scores: dict[str, tuple[float, float]]

    @property
    def key(self) -> str:
        """The pair's name: equal for equal prompt, seed, models and pictures, whatever its scores."""
        parts = [self.prompt, None if self.seed is None else str(self.seed), *self.models, *self.pictures]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Ballot(NamedTuple):
    """One pair as one voter is shown it: `second_left` says whether the second model's picture is on the left."""

    token: str
    pair: str
    second_left: bool


class CastVote(NamedTuple):
    """A vote as the page sends it: which ballot, left, right, tie, skip or none, and when (ms since 1970)."""

    token: str
    choice: str
    at: int


def check_model_name(name: object, value: object) -> str:
    """Return a model's name for the results, without outer spaces. `name` is the input's. Raises InputError."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > MAX_MODEL_NAME or not text.isprintable():
        raise InputError(str(name), value, f"Name the model in one line, at most {MAX_MODEL_NAME} characters.")
    return text


def draw(secret: bytes, *parts: str | int) -> bytes:
    """Draw 32 bytes that nobody can foresee without the secret, always the same for the same parts (HMAC-SHA-256)."""
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).digest()


def shuffle_ballots(
    secret: bytes, pairs: Sequence[str], *, seed: int, voter: str, question: str, count: int
) -> list[Ballot]:
    """Return `count` of the pairs as ballots, in a voter's order, sides randomised.

    Which pairs are drawn depends on the seed alone, so that all voters judge the same; order and sides are each
    voter's own. Neither can be told from what is returned without the secret: every draw is an HMAC.
    """
    chosen = sorted(pairs, key=lambda key: draw(secret, "sample", seed, key))[:count]
    voter_parts = (seed, voter, question)
    chosen.sort(key=lambda key: draw(secret, "order", *voter_parts, key))
    return [
        Ballot(
            draw(secret, "token", *voter_parts, key).hex()[:_TOKEN_LENGTH],
            key,
            bool(draw(secret, "side", *voter_parts, key)[0] & 1),
        )
        for key in chosen
    ]


def pick_of(choice: str, second_left: bool) -> str:
    """Return what a choice of sides means: first, second, tie or skip."""
    if choice in (TIE, SKIP):
        return choice
    return SECOND if (choice == "left") == second_left else FIRST


def choice_of(pick: str, second_left: bool) -> str:
    """Return the choice that a pick was: where the picked model stands on a ballot."""
    if pick in (TIE, SKIP):
        return pick
    return "left" if (pick == SECOND) == second_left else "right"


def parse_votes(text: object) -> list[CastVote]:
    """Read the votes widget: `{"version": 1, "votes": [[token, choice, milliseconds], ...]}`; empty is no vote.

    Raises InputError for anything else: the widget can be set by whoever shares the workflow.
    """
    if not isinstance(text, str):
        raise _no_votes(text)
    if len(text) > MAX_VOTES_CHARACTERS:
        raise InputError("votes", f"{len(text):,} characters", f"At most {MAX_VOTES:,} votes fit into the node.")
    if not text.strip():
        return []
    try:
        found = parse_json(text)
    except ValueError as e:
        raise _no_votes(text) from e
    if not isinstance(found, dict) or set(found) != {"version", "votes"} or not _is_int(found["version"], 1, 1):
        raise _no_votes(text)
    rows = found["votes"]
    if not isinstance(rows, list) or len(rows) > MAX_VOTES:
        raise InputError("votes", type(rows).__name__, f"They are a list of at most {MAX_VOTES:,} votes.")
    votes = [_cast(row) for row in rows]
    if len({vote.token for vote in votes}) != len(votes):
        raise InputError("votes", "a pair twice", "There is one vote for each pair. Clear the votes of this node.")
    return votes


def _cast(row: Any) -> CastVote:
    if not isinstance(row, list) or len(row) != 3:
        raise _no_votes(row)
    token, choice, at = row
    known = isinstance(token, str) and _TOKEN.fullmatch(token) and choice in (*CHOICES, RETRACTED)
    if not known or not isinstance(choice, str) or not _is_int(at, 0, LATEST):
        raise _no_votes(row)
    return CastVote(token, choice, at)


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _no_votes(found: object) -> InputError:
    return InputError("votes", found, "It holds votes only as the page writes them. Clear it to start again.")

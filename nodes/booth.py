"""What the booth on the Vote node shows: one row a ballot, which says nothing of which model is where."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.texts import shortened
from ..evaluation.votes.votes import Ballot, choice_of, draw
from . import host

if TYPE_CHECKING:
    from ..evaluation.votes.pairs import PairedTables
    from ..evaluation.votes.store import StoredVote

MAX_SHOWN_PROMPT = 2000  # characters; the study's file keeps all of them


def page_rows(
    found: PairedTables, ballots: list[Ballot], known: dict[str, StoredVote], secret: bytes
) -> list[dict[str, Any]]:
    """Return what the page gets: a row a ballot, in the voter's order.

    Writes the pictures, each pair once, under names nobody can foresee; may raise a cancel.
    """
    places = {pair.key: i for i, pair in enumerate(found.pairs)}
    progress, rows = host.HostProgress(), []
    progress.phase("pictures", len(ballots))
    for ballot in ballots:
        entries = _entries(found, places[ballot.pair], ballot.pair, secret)
        left, right = reversed(entries) if ballot.second_left else entries
        vote = known.get(ballot.pair)
        choice = "" if vote is None or vote.pick == "none" else choice_of(vote.pick, ballot.second_left)
        rows.append(
            {
                "token": ballot.token,
                "prompt": shortened(found.pairs[places[ballot.pair]].prompt, MAX_SHOWN_PROMPT),
                "left": left,
                "right": right,
                "vote": choice,
                "at": 0 if vote is None else vote.at,
            }
        )
        progress.advance()
    return rows


def _entries(found: PairedTables, i: int, key: str, secret: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Return how the page asks for the first and the second model's picture."""
    from ..evaluation.votes.pairs import blind

    made: list[Any] = []

    def encoded(place: int) -> tuple[bytes, str]:
        if not made:  # both at once: their lengths are made equal
            made.append(blind(found.first, found.second, i))
        return made[0][place], made[0].extension

    names = (f"vote_{draw(secret, 'file', side, key).hex()[:32]}" for side in ("first", "second"))
    first, second = (
        host.temp_picture(name, partial(encoded, place), timeless=True) for place, name in enumerate(names)
    )
    return first, second

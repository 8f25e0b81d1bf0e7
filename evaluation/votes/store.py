"""A study of blind votes as one SQLite file: pairs, who was shown what on which side, votes, and what made them.

The file holds the secret that sides are drawn from, and every side: whoever votes must not read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ...core.errors import TastemakerError
from ...core.files import open_regular, unwritable
from ...core.sqlite_tables import check_tables
from .rows import DAMAGED, PICKS, VoteRow, is_time, read_scores, read_vote
from .votes import RETRACTED, Ballot, CastVote, Pair, pick_of

_APPLICATION, _VERSION = 0x7A57E507, 1
_SECRET_BYTES = 32
_WAIT_SECONDS = 10.0  # for another voter's run
_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value);
CREATE TABLE pairs (
    key TEXT PRIMARY KEY, prompt TEXT NOT NULL, seed TEXT, first TEXT NOT NULL, second TEXT NOT NULL,
    first_picture TEXT NOT NULL, second_picture TEXT NOT NULL, scores TEXT NOT NULL, added TEXT NOT NULL);
CREATE TABLE ballots (
    token TEXT PRIMARY KEY, pair TEXT NOT NULL REFERENCES pairs, voter TEXT NOT NULL, question TEXT NOT NULL,
    seed TEXT NOT NULL, second_left INTEGER NOT NULL, shown TEXT NOT NULL);
CREATE TABLE votes (
    pair TEXT NOT NULL REFERENCES pairs, voter TEXT NOT NULL, question TEXT NOT NULL, token TEXT NOT NULL,
    choice TEXT NOT NULL, pick TEXT NOT NULL, at INTEGER NOT NULL, stored TEXT NOT NULL,
    PRIMARY KEY (pair, voter, question));
CREATE TABLE graphs (digest TEXT PRIMARY KEY, graph TEXT NOT NULL);
CREATE TABLE rounds (
    voter TEXT NOT NULL, question TEXT NOT NULL, seed TEXT NOT NULL, pairs INTEGER NOT NULL, graph TEXT NOT NULL,
    started TEXT NOT NULL, PRIMARY KEY (voter, question, seed, pairs, graph));
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""


class StudyError(TastemakerError):
    """A study's file that cannot be used. Votes that were not stored are still where they came from."""


class StoredVote(NamedTuple):
    """What the file knows of one voter's vote on one pair; `choice` is RETRACTED after it was taken back."""

    pick: str
    at: int


class StoreResult(NamedTuple):
    """What became of some votes: those now in the file (or there is a later one), and those of no ballot of it."""

    kept: list[CastVote]
    unknown: int


class Study:
    """A study's file; use it in a `with` block. Raises StudyError, and leaves a file it cannot read as it is."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path, self._create = path, create
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> Study:
        try:
            if self._create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.is_file():
                raise StudyError(f"There is no study named {self.path.stem!r} yet: vote in it first.")
            if os.path.lexists(self.path):
                open_regular(self.path).close()  # opening a pipe would wait for a writer
            self._file = sqlite3.Connection(str(self.path), timeout=_WAIT_SECONDS, isolation_level=None)
            self._file.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except (sqlite3.Error, OSError) as e:
            self._close()
            raise self._error(e) from e
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    # --- writing ------------------------------------------------------------------------------

    @property
    def secret(self) -> bytes:
        """Return what this study's sides are drawn from: made at its first run, never shown."""
        found = self._rows("SELECT value FROM meta WHERE name = 'secret'")
        value = found[0][0] if found else None
        if not isinstance(value, bytes) or len(value) != _SECRET_BYTES:
            raise self._error(ValueError("its secret is gone or damaged"))
        return value

    def store(self, votes: Sequence[CastVote], now: float | None = None) -> StoreResult:
        """Keep votes, each where its ballot belongs: whoever voted then, and on what. The later vote counts.

        A vote stored twice is stored once. A time after `now` (seconds; a page's clock may be wrong) counts as now.
        """
        latest = int(1000 * (time.time() if now is None else now))
        kept, unknown = [], 0
        with self._transaction() as file:
            for vote in votes:
                ballot = file.execute(
                    "SELECT pair, voter, question, second_left FROM ballots WHERE token = ?", (vote.token,)
                ).fetchone()
                if ballot is None:
                    unknown += 1
                    continue
                kept.append(vote)
                pair, voter, question, second_left = ballot
                pick = vote.choice if vote.choice == RETRACTED else pick_of(vote.choice, bool(second_left))
                row = (pair, voter, question, vote.token, vote.choice, pick, min(vote.at, latest), _now())
                file.execute(
                    "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (pair, voter, question) DO UPDATE "
                    "SET token = excluded.token, choice = excluded.choice, pick = excluded.pick, at = excluded.at, "
                    "stored = excluded.stored WHERE excluded.at >= votes.at AND excluded.pick != votes.pick",
                    row,
                )
        return StoreResult(kept, unknown)

    def add_pairs(self, pairs: Iterable[Pair]) -> None:
        """Keep pairs; of one that is known, add the scores that are new."""
        with self._transaction() as file:
            for pair in pairs:
                key = pair.key
                known = file.execute("SELECT scores FROM pairs WHERE key = ?", (key,)).fetchone()
                if known is None:
                    seed = None if pair.seed is None else str(pair.seed)  # a seed may be beyond SQLite's integers
                    scores = json.dumps(pair.scores, allow_nan=False)
                    row = (key, pair.prompt, seed, *pair.models, *pair.pictures, scores, _now())
                    file.execute("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                    continue
                scores = json.dumps({**read_scores(known[0]), **pair.scores}, allow_nan=False)
                if scores != known[0]:
                    file.execute("UPDATE pairs SET scores = ? WHERE key = ?", (scores, key))

    def add_round(self, ballots: Sequence[Ballot], *, voter: str, question: str, seed: int, graph: str = "{}") -> None:
        """Keep what a voter is about to be shown, and the graph (JSON) that made it."""
        digest = hashlib.sha256(graph.encode()).hexdigest()
        with self._transaction() as file:
            file.execute("INSERT OR IGNORE INTO graphs VALUES (?, ?)", (digest, graph))
            row = (voter, question, str(seed), len(ballots), digest, _now())
            file.execute("INSERT OR IGNORE INTO rounds VALUES (?, ?, ?, ?, ?, ?)", row)
            file.executemany(
                "INSERT OR IGNORE INTO ballots VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(b.token, b.pair, voter, question, str(seed), int(b.second_left), _now()) for b in ballots],
            )

    # --- reading ------------------------------------------------------------------------------

    def votes_of(self, voter: str, question: str) -> dict[str, StoredVote]:
        """Return a voter's votes on one question, by pair; one taken back is there with the pick RETRACTED."""
        rows = self._rows("SELECT pair, pick, at FROM votes WHERE voter = ? AND question = ?", voter, question)
        if not all(isinstance(pair, str) and pick in PICKS and is_time(at) for pair, pick, at in rows):
            raise self._error(ValueError("a vote in it is damaged"))
        return {pair: StoredVote(pick, at) for pair, pick, at in rows}

    def rows(self) -> list[VoteRow]:
        """Return every vote that stands, in the order of voting."""
        found = self._rows(
            "SELECT p.prompt, p.seed, p.first, p.second, p.first_picture, p.second_picture, p.scores, v.voter, "
            "v.question, v.pick, b.second_left, v.at FROM votes v JOIN pairs p ON p.key = v.pair "
            "JOIN ballots b ON b.token = v.token WHERE v.pick != ? ORDER BY v.at, v.rowid",
            RETRACTED,
        )
        try:
            return [read_vote(one) for one in found]
        except DAMAGED as e:
            raise self._error(ValueError(f"a vote in it is damaged: {str(e)[:100]}")) from e

    # --- the file -----------------------------------------------------------------------------

    def _prepare(self) -> None:
        file = self._connection
        file.execute("BEGIN IMMEDIATE" if self._create else "BEGIN")
        found = [file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        empty = not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if self._create and empty:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                file.execute(statement)
            made = (("secret", secrets.token_bytes(_SECRET_BYTES)), ("created", _now()))
            file.executemany("INSERT INTO meta VALUES (?, ?)", made)
        elif found != [_APPLICATION, _VERSION]:
            raise sqlite3.DatabaseError("it is another program's, or of another version")
        check_tables(file, _SCHEMA.split(";"))
        file.execute("COMMIT")

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._file is not None  # it is used in a `with` block
        return self._file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Keep all of it or nothing, and turn errors into StudyError."""
        file = self._connection
        try:
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")
        except BaseException as e:
            with suppress(sqlite3.Error):
                file.execute("ROLLBACK")
            if isinstance(e, (sqlite3.Error, OSError, *DAMAGED)) and not isinstance(e, TastemakerError):
                raise self._error(e) from e
            raise

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            cursor = self._connection.cursor()
            cursor.row_factory = sqlite3.Row
            return cursor.execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as e:
            raise self._error(e) from e

    def _error(self, e: Exception) -> StudyError:
        return StudyError(
            f"The study file {self.path.name} cannot be used ({unwritable(e)}). "
            "Votes that were not stored are still in the node. "
            "Make room or give the right to write, or move the file away, or choose another study name; then run again."
        )

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

"""Scores that outlive a run: one small SQLite file, keyed by picture, prompt and reward.

The cache may be lost, locked or full at any moment; scoring then goes on without it. A damaged file is moved
aside, never read on. Prompts are not stored, only digests of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ..core.files import open_regular, unwritable
from ..core.sqlite_tables import check_tables
from ..images.pictures import Pictures
from ..rewards.reward import Reward

log = logging.getLogger(__name__)
T = TypeVar("T")

_APPLICATION, _VERSION = 0x7A57E5C0, 2  # the version changes with what is stored, and with how files are decoded
_WAIT_SECONDS = 2.0  # for another server that writes
_MAX_ROWS = 2_000_000  # beyond it the oldest go; about 400 MB
_FRESH_SECONDS = 2  # a file changed a moment ago may change again within the same tick of its clock
_KEY = re.compile("[0-9a-f]{64}")
_SCHEMA = (
    "CREATE TABLE scores (digest BLOB PRIMARY KEY, columns TEXT NOT NULL)",
    "CREATE TABLE files (path TEXT PRIMARY KEY, bytes INTEGER, mtime_ns INTEGER, key TEXT NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)


class ScoreCache:
    """A file of scores; use it in a `with` block. I/O errors are logged, never raised.

    Attributes:
        problem: why it stopped remembering, or lost what it had; empty while all is well.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.problem = path, ""
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> ScoreCache:
        self._try(lambda file: None, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(_forget_oldest, None)
        self._close()

    # --- what it remembers --------------------------------------------------------------------

    def recall_keys(self, pictures: Pictures) -> None:
        """Give pictures in files the keys of those that have not changed since their key was computed."""
        states = _states(pictures, (i for i in range(len(pictures)) if pictures.content_key(i) is None))

        def work(file: sqlite3.Connection) -> None:
            for i, state in states.items():
                query = "SELECT key FROM files WHERE path = ? AND bytes = ? AND mtime_ns = ?"
                row = file.execute(query, state).fetchone()
                if row and isinstance(row[0], str) and _KEY.fullmatch(row[0]):  # it becomes part of files' names
                    pictures.learn_key(i, row[0])

        if states:
            self._try(work, None)

    def remember_keys(self, pictures: Pictures, index: Iterable[int]) -> None:
        """Keep the keys of some pictures in files."""
        settled = time.time_ns() - _FRESH_SECONDS * 10**9
        keys = {i: key for i in index if (key := pictures.content_key(i)) is not None}
        states = _states(pictures, keys)
        rows = [(*state, keys[i]) for i, state in states.items() if state[2] < settled]
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def find(self, reward: Reward, keys: Sequence[str], prompts: Sequence[str]) -> list[dict[str, float] | None]:
        """Find the score columns of (key, prompt) pairs, `reward.name` first; None for a pair never scored."""
        digests = _digests(reward, keys, prompts)

        def work(file: sqlite3.Connection) -> list[dict[str, float] | None]:
            query = "SELECT columns FROM scores WHERE digest = ?"
            rows = (file.execute(query, (digest,)).fetchone() for digest in digests)
            return [_columns(row[0], reward) if row else None for row in rows]

        return self._try(work, [None] * len(digests))

    def store(
        self, reward: Reward, keys: Sequence[str], prompts: Sequence[str], columns: Sequence[Mapping[str, float]]
    ) -> None:
        """Keep the score columns of (key, prompt) pairs."""
        texts = [json.dumps(dict(one), allow_nan=False) for one in columns]
        rows = list(zip(_digests(reward, keys, prompts), texts, strict=True))
        self._write("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    # --- the file -----------------------------------------------------------------------------

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        def work(file: sqlite3.Connection) -> None:
            with file:  # one transaction
                file.executemany(statement, rows)

        if rows:
            self._try(work, None)

    def _try(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do something with the file; where that fails, say so once and go on without it."""
        if self.problem and self._file is None:
            return otherwise
        try:
            try:
                return work(self._opened())
            except sqlite3.OperationalError:  # locked, full, read-only: the file itself is well
                raise
            except sqlite3.DatabaseError as e:
                self._move_aside(str(e))
                return work(self._opened())
        except (sqlite3.Error, OSError) as e:
            self._close()
            self.problem = f"{self.path.name} cannot be used ({unwritable(e)}), so scores are not remembered."
            log.warning(self.problem)
            return otherwise

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(self.path):
                open_regular(self.path).close()  # opening a pipe would wait for a writer
            self._file = sqlite3.Connection(str(self.path), timeout=_WAIT_SECONDS)
            if not _ours(self._file):
                _begin(self._file)
            check_tables(self._file, _SCHEMA)
            with suppress(sqlite3.OperationalError):  # busy just now: whoever opens it next does it
                self._file.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
            self._file.execute("PRAGMA synchronous = NORMAL")
        return self._file

    def _move_aside(self, why: str) -> None:
        self._close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns():x}")
        os.replace(self.path, aside)
        for ending in ("-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        self.problem = f"{self.path.name} was damaged ({why}): it is kept as {aside.name}, and a new one is begun."
        log.warning(self.problem)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def _ours(file: sqlite3.Connection) -> bool:
    marks = [file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return marks == [_APPLICATION, _VERSION]


def _begin(file: sqlite3.Connection) -> None:
    """Make a new file ours. Raises sqlite3.DatabaseError for one that is another's."""
    with file:
        file.execute("BEGIN IMMEDIATE")  # of several that find a new file one makes it, and nobody sees half of it
        if _ours(file):
            return
        if file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("another program's file, or one of another version")
        for statement in _SCHEMA:
            file.execute(statement)


def _forget_oldest(file: sqlite3.Connection) -> None:
    for table in ("scores", "files"):
        last = file.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
        if last and last > _MAX_ROWS:
            with file:
                file.execute(f"DELETE FROM {table} WHERE rowid <= ?", (last - _MAX_ROWS,))


def _states(pictures: Pictures, index: Iterable[int]) -> dict[int, tuple[str, int, int]]:
    """Return (real path, bytes, mtime_ns) of those pictures that are files."""
    real: dict[str, str] = {}
    states = {}
    for i in index:
        path, listed = pictures.file(i), pictures.listed(i)
        if path is None or listed is None:
            continue
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        states[i] = f"{real[folder]}/{name}", listed.bytes, listed.mtime_ns
    return states


def _digests(reward: Reward, keys: Sequence[str], prompts: Sequence[str]) -> list[bytes]:
    """Return what a row is found by: the reward, the number format it runs in, the picture, the prompt."""
    formats = sorted({str(p.dtype) for m in reward.modules.values() for p in m.parameters()})
    head = json.dumps([reward.name, reward.fingerprint, *formats]).encode()
    return [
        hashlib.sha256(head + key.encode() + hashlib.sha256(prompt.encode()).digest()).digest()[:20]
        for key, prompt in zip(keys, prompts, strict=True)
    ]


def _columns(text: object, reward: Reward) -> dict[str, float] | None:
    """Return a stored row, if it is what `store` writes."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or next(iter(found), None) != reward.name:
        return None
    numbers = all(type(v) in (int, float) and abs(v) <= sys.float_info.max for v in found.values())
    return found if numbers else None

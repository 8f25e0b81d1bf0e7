"""What an SQLite file of ours holds besides its rows: the tables we made, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable


def check_tables(file: sqlite3.Connection, statements: Iterable[str]) -> None:
    """Raise sqlite3.DatabaseError unless a file's tables are those of our `CREATE TABLE` statements, to the letter.

    A file may come from a stranger: a view in a table's place can compute for ever, a trigger changes what is stored.
    """
    file.execute("PRAGMA trusted_schema = OFF")
    ours = {_plain(one) for one in statements if "CREATE TABLE" in one}
    found = file.execute("SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 1000").fetchall()
    if any(kind != "table" or not isinstance(sql, str) for kind, sql in found) or {_plain(s) for _, s in found} != ours:
        raise sqlite3.DatabaseError("it holds other tables than ours, or is damaged")


def _plain(statement: str) -> str:
    return " ".join(statement.split()).rstrip(";")

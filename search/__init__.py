"""Choosing while sampling: the best picture for so much compute, counted. torch only when used."""

from typing import TYPE_CHECKING, Any

from .settings import METHODS, SearchSettings

if TYPE_CHECKING:
    from .again import again
    from .found import Found
    from .run import search

__all__ = ["METHODS", "Found", "SearchSettings", "again", "search"]
_HOMES = {"again": "again", "search": "run", "Found": "found"}


def __getattr__(name: str) -> Any:
    """Import the names that need torch when they are first asked for."""
    if name in _HOMES:
        from importlib import import_module

        found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = found  # in place of a module of the same name
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Choosing while sampling: more for the same compute than sampling and picking, counted; torch comes when used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .settings import METHODS, SearchSettings

if TYPE_CHECKING:
    from .found import Found
    from .loop import search

__all__ = ["METHODS", "Found", "SearchSettings", "search"]


def __getattr__(name: str) -> Any:
    if name == "search":
        from .loop import search

        return search
    if name == "Found":
        from .found import Found

        return Found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

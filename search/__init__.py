"""Choosing while sampling: the best picture for so much compute, counted. torch only when used."""

from typing import TYPE_CHECKING, Any

from .settings import METHODS, SearchSettings

if TYPE_CHECKING:
    from .found import Found
    from .remake import again
    from .run import search

__all__ = ["METHODS", "Found", "SearchSettings", "again", "search"]


def __getattr__(name: str) -> Any:
    """Import the names that need torch when they are first asked for."""
    if name in __all__:
        from . import found, remake, run

        return next(getattr(module, name) for module in (found, remake, run) if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

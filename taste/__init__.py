"""One person's taste: features, a head learned of clicks, which grid to ask next, its file. torch only when used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clicks import Click, parse_clicks
    from .store import read_taste, write_taste
    from .taste import Taste, learn

__all__ = ["Click", "Taste", "learn", "parse_clicks", "read_taste", "write_taste"]


def __getattr__(name: str) -> Any:
    """Import names that need torch when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import clicks, store, taste

    return next(getattr(home, name) for home in (clicks, store, taste) if hasattr(home, name))

"""Scores and their order, what is kept of a batch. Imports `rewards`, `images`, `plots`; torch only when used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..core.groups import rank
    from .kendall import agreement, agreements
    from .published import inference_rank, score
    from .table import ScoreTable

__all__ = ["ScoreTable", "agreement", "agreements", "inference_rank", "rank", "score"]


def __getattr__(name: str) -> Any:
    """Import names that need torch when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..core import groups
    from . import kendall, published, table

    return next(getattr(home, name) for home in (groups, kendall, published, table) if hasattr(home, name))

"""Rewards and ranking. Imports only `loaders`; torch only when used."""

from typing import TYPE_CHECKING, Any

from .registry import REWARDS, load_reward

if TYPE_CHECKING:
    from .ranking import rank
    from .reward import Reward
    from .table import ScoreTable

__all__ = ["REWARDS", "Reward", "ScoreTable", "load_reward", "rank"]


def __getattr__(name: str) -> Any:
    """Names that need torch are imported when first asked for."""
    if name == "rank":
        from .ranking import rank as found
    elif name == "Reward":
        from .reward import Reward as found
    elif name == "ScoreTable":
        from .table import ScoreTable as found
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found

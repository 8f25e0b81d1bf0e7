"""Rewards and ranking. Imports only `loaders`; torch only when used."""

from typing import TYPE_CHECKING, Any

from .registry import REWARDS, load_reward

if TYPE_CHECKING:
    from .combined import CombinedReward, combine, measured
    from .function import custom
    from .kendall import agreement, agreements
    from .published import inference_rank, score
    from .ranking import rank
    from .reward import Reward
    from .statistics import Statistics
    from .table import ScoreTable

__all__ = [
    "REWARDS",
    "CombinedReward",
    "Reward",
    "ScoreTable",
    "Statistics",
    "agreement",
    "agreements",
    "combine",
    "custom",
    "inference_rank",
    "load_reward",
    "measured",
    "rank",
    "score",
]


def __getattr__(name: str) -> Any:
    """Names that need torch are imported when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import combined, function, kendall, published, ranking, reward, statistics, table

    homes = (combined, function, kendall, published, ranking, reward, statistics, table)
    return next(getattr(home, name) for home in homes if hasattr(home, name))

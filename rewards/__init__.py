"""Human preference as a function of images. Imports `loaders` and `images`; torch only when used."""

from typing import TYPE_CHECKING, Any

from .registry import REWARDS, load_reward

if TYPE_CHECKING:
    from ..core.groups import rank
    from .combined import CombinedReward, combine, measured
    from .function import custom
    from .reward import Reward
    from .statistics import Statistics

__all__ = [
    "REWARDS",
    "CombinedReward",
    "Reward",
    "Statistics",
    "combine",
    "custom",
    "load_reward",
    "measured",
    "rank",
]


def __getattr__(name: str) -> Any:
    """Import names that need torch when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..core import groups
    from . import combined, function, reward, statistics

    return next(getattr(home, name) for home in (combined, function, reward, statistics, groups) if hasattr(home, name))

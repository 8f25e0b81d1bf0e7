"""Fine-tuning on rewards. Imports the rooms from `ranking` down; torch only when used."""

from typing import TYPE_CHECKING, Any

from .config import FineTuneConfig
from .presets import PRESETS, preset

if TYPE_CHECKING:
    from .loop import FineTune, finetune
    from .run.progress import EpochProgress
    from .run.report import EpochReport

DDPOConfig = FineTuneConfig  # its name while it held DDPO alone

__all__ = [
    "PRESETS",
    "DDPOConfig",
    "EpochProgress",
    "EpochReport",
    "FineTune",
    "FineTuneConfig",
    "finetune",
    "preset",
]


def __getattr__(name: str) -> Any:
    """Import names that need torch when they are first asked for."""
    if name == "EpochReport":
        from .run.report import EpochReport

        return EpochReport
    if name == "EpochProgress":
        from .run.progress import EpochProgress

        return EpochProgress
    if name in ("FineTune", "finetune"):
        from . import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

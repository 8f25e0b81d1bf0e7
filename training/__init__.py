"""Fine-tuning on rewards. Imports the rooms from `ranking` down; torch only when used."""

from typing import TYPE_CHECKING, Any

from .config import FineTuneConfig
from .preference.config import PreferenceConfig
from .presets import PRESETS, preset

if TYPE_CHECKING:
    from .loop import FineTune, finetune
    from .preference.preferences import Preferences
    from .preference.tune import preference_tune
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
    "PreferenceConfig",
    "Preferences",
    "finetune",
    "preference_tune",
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
    if name == "Preferences":
        from .preference.preferences import Preferences

        return Preferences
    if name == "preference_tune":
        from .preference.tune import preference_tune

        return preference_tune
    if name in ("FineTune", "finetune"):
        from . import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

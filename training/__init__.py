"""Fine-tuning on rewards, with DDPO. Imports `sampling`, `rewards` and `loaders`; torch only when used."""

from typing import TYPE_CHECKING, Any

from .config import PRESETS, DDPOConfig, preset

if TYPE_CHECKING:
    from .loop import FineTune
    from .run.report import EpochReport, Progress
    from .start import finetune

__all__ = ["PRESETS", "DDPOConfig", "EpochReport", "FineTune", "Progress", "finetune", "preset"]


def __getattr__(name: str) -> Any:
    """Names that need torch are imported when first asked for."""
    if name in ("EpochReport", "Progress"):
        from .run import report

        return getattr(report, name)
    if name == "FineTune":
        from .loop import FineTune

        return FineTune
    if name == "finetune":
        from .start import finetune

        return finetune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

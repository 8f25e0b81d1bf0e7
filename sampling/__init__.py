"""Prompts and seeds to images. Imports only `loaders`; torch only when used."""

from typing import TYPE_CHECKING, Any

from .settings import SCHEDULERS, SampleOptions, SampleSettings

if TYPE_CHECKING:
    from .loop import Samples, StepInfo, sample

__all__ = ["SCHEDULERS", "SampleOptions", "SampleSettings", "Samples", "StepInfo", "sample"]


def __getattr__(name: str) -> Any:
    """Names that need torch are imported when first asked for."""
    if name in __all__:
        from . import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

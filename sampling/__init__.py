"""Prompts and seeds to images. Imports only `loaders`; torch only when used."""

from typing import TYPE_CHECKING, Any

from .schedulers import SCHEDULERS
from .settings import SampleOptions, SampleSettings

if TYPE_CHECKING:
    from .loop import Samples, denoise, sample

__all__ = ["SCHEDULERS", "SampleOptions", "SampleSettings", "Samples", "denoise", "sample"]


def __getattr__(name: str) -> Any:
    """Import the names that need torch when they are first asked for."""
    if name in __all__:
        from . import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

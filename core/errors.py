"""The errors people see: each says what was wrong, with which input, what was found, what to do."""

from __future__ import annotations


class TastemakerError(ValueError):
    """Something a user can mend."""


class InputError(TastemakerError):
    """A value that cannot be used. The message names the input, what was found and what to do."""

    def __init__(self, name: str, found: object, advice: str) -> None:
        shown = repr(found)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        super().__init__(f"{name}: {advice} Found: {shown}.")
        self.name = name


class ModelFileError(TastemakerError):
    """A model file or folder that cannot be loaded. The message names it and what to do."""


class NonFiniteError(TastemakerError):
    """NaN or infinity. The message names who made it."""


class OutOfMemoryError(TastemakerError):
    """Not even the smallest piece of the work fits into memory."""

"""The errors people see: each says what was wrong, with which input, what was found, what to do."""

from __future__ import annotations


class TastemakerError(ValueError):
    """An error the user can fix."""


class InputError(TastemakerError):
    """A value that cannot be used. The message names the input, what was found and what to do."""

    def __init__(self, name: str, found: object, advice: str) -> None:
        super().__init__(f"{name}: {advice} Found: {shown(found)}.")
        self.name, self._found, self._advice = name, found, advice

    def named(self, name: str) -> InputError:
        """Return the same error for an input of another name."""
        return InputError(name, self._found, self._advice)


class ModelFileError(TastemakerError):
    """A model file or folder that cannot be loaded. The message names it and what to do."""


class NonFiniteError(TastemakerError):
    """NaN or infinity. The message names who made it."""


class OutOfMemoryError(TastemakerError):
    """Not even the smallest piece of the work fits into memory."""


def shown(value: object, most: int = 120) -> str:
    """Return a value as it can be shown, at most so many characters of it.

    Whatever it is: an int beyond what Python writes out, text with half a character, an object whose repr raises. What
    has no repr of its own is called by its class alone: Python would say its module, which in a host is a path.
    """
    plain = type(value).__repr__ in (object.__repr__, type.__repr__)
    try:
        text = f"a {getattr(value, '__name__', type(value).__name__)}" if plain else repr(value)
    except Exception:  # a stranger's object: its repr may raise anything
        text = f"a {type(value).__name__} that cannot be shown"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 3] + "..."

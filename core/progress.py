"""What long work says while it runs, and where its modules compute: one shape of each for every room.

`Progress` is passed down as it is; a host subclasses it to show a bar and to cancel. `Place` is a host's memory
management as seen by the library: a context manager around the use of modules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn


class Progress:
    """Receive what long work says; this one ignores it all.

    Work calls these methods where its state is consistent. Whatever one of them raises, a host's cancel for example,
    stops the work there.
    """

    def phase(self, name: str, total: int) -> None:
        """Begin a phase of `total` units: network evaluations, images, files."""

    def advance(self, count: int = 1) -> None:
        """Count `count` more units of the phase as done; negative where finished work has to be done again."""

    def preview(self, make: Callable[[], Image.Image]) -> None:
        """Offer a picture of how things stand; `make` is called only when it is shown."""

    def check_cancelled(self) -> None:
        """Give the user a chance to cancel between two units."""


class Within(Progress):
    """A part of somebody else's phase: passes on everything but the beginning of phases."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def advance(self, count: int = 1) -> None:
        self._outer.advance(count)

    def preview(self, make: Callable[[], Image.Image]) -> None:
        self._outer.preview(make)

    def check_cancelled(self) -> None:
        self._outer.check_cancelled()


class Cancellable(Progress):
    """A part whose units are not counted by the phase it belongs to: only its chances to cancel are passed on."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def advance(self, count: int = 1) -> None:
        self._outer.check_cancelled()

    def check_cancelled(self) -> None:
        self._outer.check_cancelled()


class Scaled(Within):
    """A part that counts in units of its own and fills `units` of the phase it belongs to."""

    def __init__(self, outer: Progress, units: int) -> None:
        super().__init__(outer)
        self._units, self._total, self._done, self._passed_on = units, max(1, units), 0, 0

    def phase(self, name: str, total: int) -> None:
        self._total, self._done = max(1, total), 0

    def advance(self, count: int = 1) -> None:
        self._done += count
        share = self._units * self._done // self._total
        self._outer.advance(share - self._passed_on)
        self._passed_on = share


class LoggedProgress(Progress):
    """A line in the log at the beginning and end of a phase, and every `pause` seconds in between."""

    def __init__(self, log: logging.Logger, pause: float = 10.0) -> None:
        self._log, self._pause = log, pause
        self._name, self._done, self._total, self._next = "", 0, 0, 0.0

    def phase(self, name: str, total: int) -> None:
        self._name, self._done, self._total, self._next = name, 0, total, 0.0
        self.advance(0)

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now >= self._next or (count and self._done >= self._total):
            self._log.info("%s: %d of %d", self._name, self._done, self._total)
            self._next = now + self._pause


class Place(Protocol):
    """Put modules where they compute for a `with` block, with room for so many working bytes beside them."""

    def __call__(self, modules: Iterable[nn.Module], working_bytes: int = 0) -> AbstractContextManager[None]: ...


def stay(modules: Iterable[nn.Module], working_bytes: int = 0) -> AbstractContextManager[None]:
    """Leave modules where they are: the `Place` of a program that manages its memory itself."""
    return nullcontext()

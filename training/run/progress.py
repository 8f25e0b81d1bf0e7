"""What a run says while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

# phases beside an algorithm's own -> what they are timed as
TIMED_AS = {
    "before training": "sampling",
    "samples": "samples and evaluation",
    "evaluating": "samples and evaluation",
}


class EpochProgress(Progress):
    """Receive what a run says; this one ignores it all.

    Phases are an algorithm's ("sampling", "scoring", "learning") and the loop's ("before training", "samples",
    "evaluating").
    """

    def epoch(self, number: int, epochs: int, seconds_left: float | None) -> None:
        """Begin epoch `number` of `epochs`, from 1; seconds_left is for the whole run, None in its first epoch."""


class PhaseClock(Progress):
    """Pass everything on, and add up seconds by phase."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer
        self.seconds: dict[str, float] = {}
        self._name, self._since = "", time.perf_counter()

    def phase(self, name: str, total: int) -> None:
        self.lap(TIMED_AS.get(name, name))
        self._outer.phase(name, total)

    def lap(self, name: str = "") -> None:
        """End the phase at work; what follows counts as `name`."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now

    def advance(self, count: int = 1) -> None:
        self._outer.advance(count)

    def preview(self, make: Callable[[], Image.Image]) -> None:
        self._outer.preview(make)

    def check_cancelled(self) -> None:
        self._outer.check_cancelled()

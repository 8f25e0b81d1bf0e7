"""Progress that is written down, and a place that is: what tests look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from tastemaker.core.progress import Progress


class Recorded(Progress):
    """Keeps (phase, done, total) after each count; `stop` is called with the same and may raise.

    Attributes:
        seen: what was counted, in order.
        phases: the names of the phases, in order.
    """

    def __init__(self, stop: Callable[[str, int, int], object] = lambda phase, done, total: None) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.phases: list[str] = []
        self._stop, self._now = stop, ("", 0, 0)

    @property
    def done(self) -> list[int]:
        """How much was done after each count."""
        return [done for _, done, _ in self.seen]

    @property
    def counts(self) -> list[tuple[int, int]]:
        """(done, total) after each count."""
        return [(done, total) for _, done, total in self.seen]

    def phase(self, name: str, total: int) -> None:
        self._now = name, 0, total
        self.phases.append(name)

    def advance(self, count: int = 1) -> None:
        name, done, total = self._now
        self._now = name, done + count, total
        self.seen.append(self._now)
        self._stop(*self._now)


class Placed:
    """A `Place` that keeps (modules, working bytes) of each call; modules by their names in a model."""

    def __init__(self, *models: Any) -> None:
        self._names = {id(module): name for model in models for name, module in model.modules.items()}
        self.calls: list[tuple[tuple[str, ...], int]] = []

    def __call__(self, modules: Iterable[nn.Module], working_bytes: int = 0) -> AbstractContextManager[None]:
        self.calls.append((tuple(self._names[id(module)] for module in modules), working_bytes))
        return nullcontext()

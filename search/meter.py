"""What a search spends: network evaluations, decodes, scorings and time, and when that is enough."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Cost:
    """Counts for one prompt or a whole run. A network evaluation is one step of one picture, guided or not."""

    evaluations: int = 0
    decodes: int = 0
    scorings: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.evaluations + other.evaluations,
            self.decodes + other.decodes,
            self.scorings + other.scorings,
            self.seconds + other.seconds,
        )


@dataclass
class Meter:
    """Count one prompt's cost against its budget.

    Attributes:
        budget: network evaluations.
        most_decodes, most_seconds: 0 is no limit.
        cost: what was spent so far; `seconds` runs by itself.
    """

    budget: int
    most_decodes: int = 0
    most_seconds: float = 0.0
    cost: Cost = field(default_factory=Cost)
    _begun: float = field(default_factory=time.monotonic)

    def spend(self, *, evaluations: int = 0, decodes: int = 0, scorings: int = 0) -> None:
        """Count."""
        self.cost.evaluations += evaluations
        self.cost.decodes += decodes
        self.cost.scorings += scorings
        self.cost.seconds = time.monotonic() - self._begun

    def pays(self, evaluations: int) -> bool:
        """Return whether so many more evaluations are within the budget, and no other limit is reached."""
        return self.cost.evaluations + evaluations <= self.budget and not self.stopped

    @property
    def left(self) -> int:
        """Network evaluations that are left."""
        return self.budget - self.cost.evaluations

    @property
    def stopped(self) -> str:
        """Which limit beside the budget is reached, in words; empty while none is."""
        if self.most_decodes and self.cost.decodes >= self.most_decodes:
            return f"stopped at {self.cost.decodes} decodes"
        if self.most_seconds and time.monotonic() - self._begun >= self.most_seconds:
            return f"stopped after {self.most_seconds:g} seconds"
        return ""

"""The meter: what a search has cost, and when it has to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Cost:
    """What was spent.

    Attributes:
        evaluations: network evaluations; a guided one, two rows of a prompt, counts once.
        decodes: latents made pictures, of finished pictures and of predictions.
        scorings: pictures that the reward looked at.
        seconds: of the clock.
    """

    evaluations: int = 0
    decodes: int = 0
    scorings: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __str__(self) -> str:
        return (
            f"{self.evaluations:,} network evaluations, {self.decodes:,} decodes, {self.scorings:,} scorings, "
            f"{self.seconds:.1f} s"
        )


class Meter:
    """Counts one prompt's search. A limit of 0 is none; `evaluations` is always one."""

    def __init__(self, evaluations: int, decodes: int = 0, scorings: int = 0, seconds: float = 0.0) -> None:
        self._limits = {"evaluations": evaluations, "decodes": decodes, "scorings": scorings, "seconds": seconds}
        self._began = time.monotonic()
        self._evaluations = self._decodes = self._scorings = 0

    @property
    def cost(self) -> Cost:
        """What was spent so far."""
        return Cost(self._evaluations, self._decodes, self._scorings, time.monotonic() - self._began)

    @property
    def left(self) -> int:
        """Network evaluations that may still be spent."""
        return max(0, int(self._limits["evaluations"]) - self._evaluations)

    def evaluated(self, count: int) -> None:
        """Count network evaluations; negative where they have to be done again."""
        self._evaluations += count

    def decoded(self, count: int) -> None:
        """Count decodes."""
        self._decodes += count

    def scored(self, count: int) -> None:
        """Count scorings."""
        self._scorings += count

    def room(self, looks: int) -> int:
        """Return how many of so many pictures may still be decoded and scored."""
        spent = {"decodes": self._decodes, "scorings": self._scorings}
        return max(0, min([looks, *(int(self._limits[n]) - spent[n] for n in spent if self._limits[n])]))

    def spent(self) -> str:
        """Return which limit is reached, in words; empty while there is room for more."""
        cost = self.cost
        reached = [n for n, limit in self._limits.items() if limit and getattr(cost, n) >= limit]
        return f"stopped by its limit of {', '.join(f'{self._limits[n]:g} {n}' for n in reached)}" if reached else ""

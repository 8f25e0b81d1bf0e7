"""What comes of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..ranking.table import ScoreTable
from .fid.distance import Estimate
from .measures import Sections


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one model.

    Attributes:
        title: the model's name in reports.
        protocol: the prompts' name.
        sections: figures overall, then of each category: section -> name of a figure -> estimate.
        about: how they were made: JSON.
        notes: what to be careful about.
        broken: (name, why) of pictures that could not be read; they are in no figure.
        table: the scored pictures; None without rewards.
    """

    title: str
    protocol: str
    sections: Sections
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    table: ScoreTable | None = field(default=None, repr=False)

    def record(self) -> dict[str, Any]:
        """Return JSON, without the pictures."""
        sections = {name: {k: _finite(e) for k, e in values.items()} for name, values in self.sections.items()}
        return {
            "title": self.title,
            "protocol": self.protocol,
            "sections": sections,
            "about": dict(self.about),
            "notes": list(self.notes),
            "broken": [list(b) for b in self.broken],
        }


def _finite(estimate: Estimate) -> dict[str, float | int | None]:
    return {k: None if v != v else v for k, v in asdict(estimate).items()}

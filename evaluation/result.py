"""What an evaluation is made against and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..ranking.table import ScoreTable
from .fid.distance import Estimate
from .fid.statistics import FeatureStatistics
from .measures import Sections
from .pictures import Source


@dataclass(frozen=True, eq=False)
class Reference:
    """What pictures are compared with: pictures, or statistics that were stored.

    Attributes:
        name: for reports.
        source: the pictures; None where there are statistics alone.
        categories: one for each of them; None: they have none.
        statistics: used where there is no source.
        folder: where their features are kept, so that they are read once for all models.
        notes: what to be careful about, such as files that were left out.
    """

    name: str
    source: Source | None = None
    categories: tuple[str, ...] | None = None
    statistics: FeatureStatistics | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = ()


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
        """JSON, without the pictures."""
        sections = {name: {k: _numbers(e) for k, e in values.items()} for name, values in self.sections.items()}
        return {
            "title": self.title,
            "protocol": self.protocol,
            "sections": sections,
            "about": dict(self.about),
            "notes": list(self.notes),
            "broken": [list(b) for b in self.broken],
        }


def _numbers(estimate: Estimate) -> dict[str, float | int | None]:
    return {k: None if v != v else v for k, v in estimate._asdict().items()}

"""What a run's comparisons with the untrained model say over its epochs, ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..guard import is_judged
from .report import EpochReport


class Compared(NamedTuple):
    """Hold one line: its title and a value for each epoch, NaN in epochs without a comparison."""

    title: str
    values: list[float]


def compared(reports: Sequence[EpochReport]) -> list[Compared]:
    """List the gain of each reward, in standard deviations of the untrained model's scores, then diversity.

    Diversity is a percentage of the untrained model's. Comparisons of older versions, which lack figures, are left out.
    """
    judged = [r.evaluation if r.evaluation is not None and is_judged(r.evaluation) else None for r in reports]
    names = dict.fromkeys(name for found in judged if found is not None for name in found["rewards"])
    lines = []
    for name in names:
        rows = [{} if found is None else found["rewards"].get(name, {}) for found in judged]
        lines.append(Compared(f"gain by comparison: {name}", [row.get("gain_in_base_std", math.nan) for row in rows]))
    if any(found is not None for found in judged):
        lines.append(Compared("diversity within a prompt, %", [_diversity(found) for found in judged]))
    return lines


def kept_epoch(reports: Sequence[EpochReport]) -> int | None:
    """Return the epoch that the guard keeps by the newest comparison, from 1 (0: the untrained model); None without."""
    found = [r.evaluation["kept_epoch"] for r in reports if r.evaluation is not None and "kept_epoch" in r.evaluation]
    return int(found[-1]) if found else None


def _diversity(found: Mapping[str, Any] | None) -> float:
    if found is None or not found["diversity_base"] > 0:
        return math.nan
    return 100 * found["diversity_tuned"] / found["diversity_base"]

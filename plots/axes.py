"""Round numbers along an axis, and how far it reaches. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers within [low, high], about `count`, a step of 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((m for m in (1, 2, 5, 10) if m * power >= raw - 1e-12 * power), default=10)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def reach(values: Iterable[float], flat: float) -> tuple[float, float]:
    """Return (low, high) around finite values with a margin of 6%; of equal ones, `flat` of their size."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or max(abs(high) * flat, 1e-6)
    return low - margin, high + margin


def short_number(value: float) -> str:
    """Return a number in four digits."""
    return f"{value:.4g}"

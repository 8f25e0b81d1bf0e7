"""Dataclass fields that become widgets: tooltip, limits and options in one place, and their check."""

from __future__ import annotations

import math
from dataclasses import Field, field, fields
from typing import Any

from .errors import InputError

MAX_SEED = 2**63 - 1


def setting(default: Any, tip: str, **limits: Any) -> Any:
    """Return a dataclass field with `tip` and limits: `low`, `high`, `step` or `options`.

    `optional` is for a field that came later: workflows saved before have no value for it.
    """
    return field(default=default, metadata={"tip": tip, **limits})


def check_fields(settings: Any) -> None:
    """Check every field of a settings dataclass against its metadata. Raises InputError."""
    for spec in fields(settings):
        check_value(spec, getattr(settings, spec.name))


def check_value(spec: Field, value: Any) -> None:
    """Check one value against one field's `options` or type, `low` and `high`. Raises InputError."""
    options = spec.metadata.get("options")
    if options is not None:
        if value not in tuple(options):  # of a table its names
            raise InputError(spec.name, value, f"Pick one of {', '.join(options)}.")
        return
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    if low is None:
        return
    whole = isinstance(spec.default, int)
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_type or not math.isfinite(value) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise InputError(spec.name, value, f"It must be {kind} from {low} to {high}.")

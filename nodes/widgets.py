"""Widgets from settings: limits, defaults and tooltips come from the dataclass's fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.latest import io


def widgets(settings: type, *names: str) -> list[io.Input]:
    """An input for each named field of a settings dataclass, in that order; `optional` ones may be absent."""
    specs = {spec.name: spec for spec in fields(settings)}
    return [_widget(specs[name]) for name in names]


def _widget(spec: Any) -> io.Input:
    tip, options = spec.metadata["tip"], spec.metadata.get("options")
    optional = spec.metadata.get("optional", False)
    if options is not None:
        return io.Combo.Input(spec.name, options=list(options), default=spec.default, tooltip=tip, optional=optional)
    limits = {"min": spec.metadata["low"], "max": spec.metadata["high"], "step": spec.metadata.get("step", 1)}
    if spec.name == "seed":  # the page would change it after each run, unasked
        limits["control_after_generate"] = False
    kind = io.Int if isinstance(spec.default, int) else io.Float
    return kind.Input(spec.name, default=spec.default, tooltip=tip, optional=optional, **limits)

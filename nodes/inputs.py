"""Inputs that several nodes share: widgets from settings, prompts, pictures, number formats; and what comes of them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..loaders.formats.precision import DTYPES
from . import host
from .wires import TastePictures, TastePrompts

if TYPE_CHECKING:
    import torch


def widgets(settings: type, *names: str) -> list[io.Input]:
    """Return an input for each field of a settings dataclass, or for the named ones in that order.

    Limits, default and tooltip are the field's; `optional` ones may be absent from a prompt.
    """
    specs = {spec.name: spec for spec in fields(settings)}
    return [_widget(specs[name]) for name in names or specs]


def _widget(spec: Any) -> io.Input:
    tip, options = spec.metadata["tip"], spec.metadata.get("options")
    optional = spec.metadata.get("optional", False)
    if options is not None:
        return io.Combo.Input(spec.name, options=list(options), default=spec.default, tooltip=tip, optional=optional)
    if isinstance(spec.default, str):
        return io.String.Input(spec.name, default=spec.default, tooltip=tip, optional=optional)
    limits = {"min": spec.metadata["low"], "max": spec.metadata["high"], "step": spec.metadata.get("step", 1)}
    if spec.name == "seed":  # the page would change it after each run, unasked
        limits["control_after_generate"] = False
    kind = io.Int if isinstance(spec.default, int) else io.Float
    return kind.Input(spec.name, default=spec.default, tooltip=tip, optional=optional, **limits)


def prompts_input(tooltip: str, name: str = "prompts", *, optional: bool = False) -> io.Input:
    """Return an input that takes TASTE_PROMPTS or a plain STRING wire."""
    return io.MultiType.Input(name, types=[TastePrompts, io.String], tooltip=tooltip, optional=optional)


def pictures_input(name: str, tooltip: str, *, optional: bool = False) -> io.Input:
    """Return an input that takes an IMAGE or a TASTE_PICTURES wire."""
    return io.MultiType.Input(name, types=[io.Image, TastePictures], tooltip=tooltip, optional=optional)


def marks_input(tooltip: str) -> io.Input:
    """Return the widget that the culling view fills."""
    return io.String.Input("marks", default="", optional=True, socketless=True, tooltip=tooltip)


def dtype_input(tooltip: str) -> io.Input:
    """Return the combo of number formats that networks are loaded in."""
    return io.Combo.Input("dtype", options=["auto", *DTYPES], default="auto", tooltip=tooltip)


def dtype_of(name: str, *, exact: bool = False) -> torch.dtype:
    """Return the number format that combo names; `exact` makes auto float32 on every CPU."""
    import torch

    return host.preferred_dtype(exact=exact) if name == "auto" else getattr(torch, name)

"""What a sampling run is told. Widgets, limits and tooltips come from these fields too."""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field, fields
from typing import Any

from ..loaders.errors import InputError

SCHEDULERS = ("ddim", "ddpm", "pndm")
MAX_SEED = 2**63 - 1
MAX_SIDE = 8192
MAX_BATCH = 4096


def setting(default: Any, tip: str, **limits: Any) -> Any:
    """A dataclass field with `tip` and limits: `low`, `high`, `step` or `options`."""
    return field(default=default, metadata={"tip": tip, **limits})


@dataclass(frozen=True)
class SampleSettings:
    """How to sample.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    scheduler: str = setting(
        "ddim",
        "How noise is removed. ddim: few steps, the usual choice. pndm: few steps, no randomness. "
        "ddpm: the original, best with many steps.",
        options=SCHEDULERS,
    )
    steps: int = setting(25, "Denoising steps. More is slower and finer.", low=1, high=1000)
    guidance_scale: float = setting(
        4.0,
        "How strictly the picture follows the prompt (classifier-free guidance). 1 is off. "
        "Unused by unconditional models.",
        low=1.0,
        high=50.0,
        step=0.1,
    )
    eta: float = setting(
        0.0,
        "Fresh noise in each ddim step: 0 is none, 1 is as much as ddpm. Only ddim uses it.",
        low=0.0,
        high=1.0,
        step=0.05,
    )
    height: int = setting(0, "Height in pixels. 0 is the size the model was trained at.", low=0, high=MAX_SIDE, step=8)
    width: int = setting(0, "Width in pixels. 0 is the size the model was trained at.", low=0, high=MAX_SIDE, step=8)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.eta and self.scheduler != "ddim":
            raise InputError(
                "eta", self.eta, f"{self.scheduler} has no eta. Set eta to 0, or pick ddim as the scheduler."
            )


def check_fields(settings: Any) -> None:
    """Check every field of a settings dataclass against its metadata. Raises InputError."""
    for spec in fields(settings):
        check_value(spec, getattr(settings, spec.name))


def check_value(spec: Field, value: Any) -> None:
    """Check one value against one field's `options` or type, `low` and `high`. Raises InputError."""
    options = spec.metadata.get("options")
    if options is not None:
        if value not in options:
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

"""Settings of a sampling run. Widgets, limits and tooltips come from these fields too."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InputError
from ..core.settings import check_fields, setting
from .schedulers import MODEL_DEFAULT, NAMES, SCHEDULERS, tooltip

MAX_SIDE = 8192
MAX_BATCH = 4096


@dataclass(frozen=True)
class SampleSettings:
    """How to sample.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    scheduler: str = setting(
        "ddim",
        f"How noise is removed. {MODEL_DEFAULT}: what the model's files name. {tooltip()}",
        options=NAMES,
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
        "Fresh noise in each ddim step: 0 is none, 1 is as much as ddpm. Only ddim uses it, by name or as the "
        "model's own; with any other scheduler it must be 0.",
        low=0.0,
        high=1.0,
        step=0.05,
    )
    height: int = setting(0, "Height in pixels. 0 is the size the model was trained at.", low=0, high=MAX_SIDE, step=8)
    width: int = setting(0, "Width in pixels. 0 is the size the model was trained at.", low=0, high=MAX_SIDE, step=8)
    denoise: float = setting(
        1.0,
        "How much of the connected image or latent is made anew: 1 is all but a faint trace, 0.3 keeps most. "
        "Only with an image or latent.",
        low=0.01,
        high=1.0,
        step=0.01,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.scheduler != MODEL_DEFAULT:  # what that is, only the model's config says
            check_eta(self.scheduler, self.eta)


def check_eta(scheduler: str, eta: float) -> None:
    """Raise InputError for an eta above 0 with a scheduler that has none."""
    if eta and not SCHEDULERS[scheduler].has_eta:
        raise InputError("eta", eta, f"{scheduler} has no eta. Set eta to 0, or pick ddim as the scheduler.")


SPACINGS = ("leading", "linspace", "trailing")
OWN_SPACING = "model"  # what the model's scheduler config says
SPEEDS = ("exact", "compile", "fast")
TILINGS = ("off", "on")


@dataclass(frozen=True)
class SampleOptions:
    """Settings of a sampling run that are rarely changed; the defaults change nothing.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    guidance_rescale: float = setting(
        0.0,
        "Tames high guidance: pulls contrast back to what the prompt alone gives. 0 is off, 0.7 is usual.",
        low=0.0,
        high=1.0,
        step=0.05,
    )
    refiner_start: float = setting(
        0.8,
        "Where a connected refiner takes over: 0.8 leaves it the last fifth of the noise.",
        low=0.05,
        high=0.95,
        step=0.05,
    )
    aesthetic_score: float = setting(
        6.0,
        "Refiner only: the aesthetic score asked for, which SDXL's refiner is conditioned on.",
        low=0.0,
        high=10.0,
        step=0.1,
    )
    negative_aesthetic_score: float = setting(
        2.5, "Refiner only: the aesthetic score that guidance leads away from.", low=0.0, high=10.0, step=0.1
    )
    original_height: int = setting(
        0,
        "Original height (SDXL size conditioning): small makes blurry pictures. 0 is the real one.",
        low=0,
        high=MAX_SIDE,
    )
    original_width: int = setting(
        0,
        "Original width (SDXL size conditioning): small makes blurry pictures. 0 is the real one.",
        low=0,
        high=MAX_SIDE,
    )
    crop_top: int = setting(
        0, "Rows cropped at the top (SDXL size conditioning); 0 centres things.", low=0, high=MAX_SIDE
    )
    crop_left: int = setting(
        0, "Columns cropped at the left (SDXL size conditioning); 0 centres things.", low=0, high=MAX_SIDE
    )
    vae_tiling: str = setting(
        "off",
        "on decodes large pictures, and encodes those to start from, in overlapping tiles: little memory, small "
        "differences in the result.",
        options=TILINGS,
    )
    at_once: int = setting(
        0, "Pictures denoised together. 0 is as many as fit; out of memory halves it.", low=0, high=MAX_BATCH
    )
    speed: str = setting(
        "exact",
        "exact: as the reference. compile: torch.compile, seconds to warm up, differs by rounding. fast: compile, "
        "deep features reused for 2 of 3 steps and no guidance in the last 40%: other pictures, less detail; below 12 "
        "steps, and with lcm, it is compile.",
        options=SPEEDS,
    )
    timestep_spacing: str = setting(
        OWN_SPACING,
        "Which timesteps the steps are. model: what the model's files say. trailing begins at pure noise: for turbo, "
        "Lightning, Hyper, DMD2 and LCM models whose files do not say so. leading is SDXL's own.",
        options=(OWN_SPACING, *SPACINGS),
        optional=True,
    )

    def __post_init__(self) -> None:
        check_fields(self)

"""The table of schedulers: everything that is particular to one of them, by its name.

Widgets take their names and words from here, `scheduler_config.py` the class of diffusers, `schedules.py` the class
that steps, training and inpainting whether they may use it. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MODEL_DEFAULT = "model default"  # the model's own scheduler


@dataclass(frozen=True)
class Scheduler:
    """One scheduler.

    Attributes:
        diffusers: the class of diffusers whose timesteps and noise levels it has.
        words: what a tooltip says of it.
        options: arguments of that class that make it this scheduler.
        schedule: the class of `schedules.py` or `solvers.py` that steps.
        space: what a sample is: "variance preserving", sqrt(a) x0 + sqrt(1-a) noise, or "sigma", x0 + sigma noise.
        has_eta: whether eta sets its noise.
        trains: whether its steps have log-probabilities, so that it can be trained with.
        inpaints: whether a mask can be kept between its steps.
        predicts_sample: how it runs a network that predicts the clean sample: "as it is", "as epsilon", with the
            output converted first, or "no".
        starts_late: whether a run may begin in the middle: "yes", or "no Runge-Kutta", only where the model's config
            skips the Runge-Kutta steps at the beginning.
        needs: the Python package it needs beyond diffusers; empty for none.
    """

    diffusers: str
    words: str
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Literal["DDIM", "DDPM", "EulerAncestral", "SolverSchedule"] = "SolverSchedule"
    space: Literal["variance preserving", "sigma"] = "variance preserving"
    has_eta: bool = False
    trains: bool = False
    inpaints: bool = True
    predicts_sample: Literal["as it is", "as epsilon", "no"] = "as it is"
    starts_late: Literal["yes", "no Runge-Kutta"] = "yes"
    needs: str = ""


_KARRAS = {
    "use_karras_sigmas": True,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
}
_FEW, _FRESH = "few steps, no randomness", "fresh noise in each step"
SCHEDULERS: Mapping[str, Scheduler] = {
    "ddim": Scheduler("DDIMScheduler", "few steps, the usual choice", schedule="DDIM", has_eta=True, trains=True),
    "ddpm": Scheduler("DDPMScheduler", "the original, best with many steps", schedule="DDPM", trains=True),
    "pndm": Scheduler("PNDMScheduler", _FEW, predicts_sample="as epsilon", starts_late="no Runge-Kutta"),
    "euler": Scheduler("EulerDiscreteScheduler", _FEW, space="sigma"),
    "euler_ancestral": Scheduler(
        "EulerAncestralDiscreteScheduler",
        _FRESH,
        schedule="EulerAncestral",
        space="sigma",
        trains=True,
        predicts_sample="no",
    ),
    "dpmpp_2m": Scheduler("DPMSolverMultistepScheduler", _FEW),
    "dpmpp_2m_karras": Scheduler("DPMSolverMultistepScheduler", _FEW, options=_KARRAS),
    "dpmpp_sde": Scheduler(
        "DPMSolverSDEScheduler", _FRESH, space="sigma", inpaints=False, predicts_sample="no", needs="torchsde"
    ),
    "unipc": Scheduler("UniPCMultistepScheduler", _FEW),
    "lcm": Scheduler("LCMScheduler", "4 to 8 steps, for LCM models only"),
}
NAMES = (MODEL_DEFAULT, *SCHEDULERS)  # what a widget offers


def names_where(what: str) -> tuple[str, ...]:
    """Return the names of the schedulers of which an attribute such as "trains" or "inpaints" is true."""
    return tuple(name for name, scheduler in SCHEDULERS.items() if getattr(scheduler, what))


def tooltip() -> str:
    """Return a line on every scheduler, those of the same words together."""
    together: dict[str, list[str]] = {}
    for name, scheduler in SCHEDULERS.items():
        together.setdefault(scheduler.words, []).append(name)
    return " ".join(f"{', '.join(names)}: {words}." for words, names in together.items())

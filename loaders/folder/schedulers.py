"""Which of diffusers' schedulers a model may name as its own: those whose noise levels are betas, and why not others.

Names only: nothing here imports diffusers, and a class that the installed version does not have is still known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import InputError, ModelFileError

# every class whose levels are alphas_cumprod of beta_start, beta_end, beta_schedule and trained_betas, and nothing else
BETA_SCHEDULERS = (
    *("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "PNDMScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DEISMultistepScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler"),
    *("UniPCMultistepScheduler", "SASolverScheduler", "LCMScheduler", "TCDScheduler"),
)
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
AUTO, ZERO_SNR = "auto", "v_prediction_zero_snr"
PREDICTION_CHOICES = (AUTO, "epsilon", "v_prediction", ZERO_SNR, "sample")
_EDM = ("EDM", "CosineDPM")
_FLOW = ("FlowM", "RFScheduler")


def check_scheduler_class(name: Any) -> str:
    """Return the name of a scheduler of betas.

    Raises ModelFileError for what is none, saying what models of it are where that is known.
    """
    if isinstance(name, str) and name.startswith(_EDM):
        raise ModelFileError(
            f"This model's scheduler is {name}: models trained in EDM's scaling (Playground v2.5) are not "
            "supported. Pick Playground v2, or another SDXL model."
        )
    if isinstance(name, str) and any(word in name for word in _FLOW):
        raise flow_error(name)
    if name not in BETA_SCHEDULERS:
        raise ModelFileError(
            f"This model's scheduler is {str(name)[:80]!r}, whose noise schedule is not known here. "
            f"Known: {', '.join(BETA_SCHEDULERS)}."
        )
    return str(name)


def with_prediction(config: Mapping[str, Any], choice: str) -> dict[str, Any]:
    """Return a scheduler config whose network predicts `choice`, one of `PREDICTION_CHOICES`; auto leaves it alone.

    "v_prediction_zero_snr" is v-prediction trained up to pure noise, which starts at the last timestep.
    Raises InputError for another choice.
    """
    if choice not in PREDICTION_CHOICES:
        raise InputError("prediction_type", choice, f"Pick one of {', '.join(PREDICTION_CHOICES)}.")
    if choice == AUTO:
        return dict(config)
    if choice == ZERO_SNR:
        zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return {**config, "prediction_type": "v_prediction", **zero}
    return {**config, "prediction_type": choice}


def flow_error(what: str) -> ModelFileError:
    """Return the error for a scheduler config that asks for `what`, which only flow-matching and EDM models have."""
    return ModelFileError(
        f"This model's scheduler config says {what}: flow-matching and EDM models are not supported. Pick a model "
        f"that predicts {', '.join(PREDICTION_TYPES)}, such as SDXL or Playground v2."
    )

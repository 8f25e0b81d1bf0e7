"""What a scheduler config states of its solver, beside the noise schedule: which levels are visited, and how.

diffusers' classes share these keys, so a scheduler that is picked by name takes those of the model's own config that
its class knows: what `X.from_config(pipe.scheduler.config)` does. Values come from strangers and are checked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..core.errors import ModelFileError

_FLAGS = (
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"),
    *("lower_order_final", "euler_at_final", "predict_x0"),
)
_CHOICES = {
    "final_sigmas_type": ("zero", "sigma_min"),
    "interpolation_type": ("linear", "log_linear"),
    "timestep_type": ("discrete", "continuous"),
    "solver_type": ("midpoint", "heun", "logrho", "bh1", "bh2"),
    # SASolver's two mean nothing to the others
    "algorithm_type": (
        *("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis"),
        *("data_prediction", "noise_prediction"),
    ),
}
_OF_SA_SOLVER = ("data_prediction", "noise_prediction")
_WHOLE = {"solver_order": 3, "original_inference_steps": 10_000}  # from 1
_NUMBERS = ("timestep_scaling", "sigma_min", "sigma_max")  # above 0
_ABSENT = ("sigma_min", "sigma_max")  # may be null
_KEYS = (*_FLAGS, *_CHOICES, *_WHOLE, *_NUMBERS, "lambda_min_clipped", "disable_corrector")
_USUAL = {  # what is said of none: every class's own default, or what only its own class reads
    **dict.fromkeys(_FLAGS, False),
    **{"lower_order_final": True, "predict_x0": True, "disable_corrector": []},
    **{"final_sigmas_type": "zero", "interpolation_type": "linear", "timestep_type": "discrete"},
    **{"solver_order": 2, "solver_type": None, "algorithm_type": None},
    **{"original_inference_steps": 50, "timestep_scaling": 10.0, "sigma_min": None, "sigma_max": None},
}
_PLAIN_KINDS = ("midpoint", "bh2", "dpmsolver++", "deis", "logrho")


def solver_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config states of its solver, for every class that takes it.

    Raises ModelFileError for a value that no solver has, naming the key.
    """
    check_solver_options(config)
    options = {key: config[key] for key in _KEYS if key in config}
    if options.get("algorithm_type") in _OF_SA_SOLVER:
        del options["algorithm_type"]
    return options


def stated_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `solver_options` that are not what every solver does anyway, for people to read."""
    options = solver_options(config)
    kinds = ("solver_type", "algorithm_type")
    plain = {key for key in options if key in kinds and options[key] in _PLAIN_KINDS}
    return {k: v for k, v in options.items() if k not in plain and v != _USUAL.get(k, -math.inf)}


def check_solver_options(config: Mapping[str, Any]) -> None:
    """Raise ModelFileError for a solver option with a value that none has, naming the key."""
    for key in _FLAGS:
        if key in config and not isinstance(config[key], bool):
            raise _wrong(key, config[key], "true or false")
    for key, choices in _CHOICES.items():
        if key in config and config[key] not in choices:
            raise _wrong(key, config[key], f"one of {', '.join(choices)}")
    for key, most in _WHOLE.items():
        value = config.get(key, 1)
        if type(value) is not int or not 1 <= value <= most:
            raise _wrong(key, value, f"a whole number from 1 to {most}")
    for key in _NUMBERS:
        value = config.get(key, 1.0)
        if not (value is None and key in _ABSENT) and not (_is_number(value) and 0 < value < math.inf):
            raise _wrong(key, value, "a number above 0")
    clipped = config.get("lambda_min_clipped", -math.inf)
    if not _is_number(clipped) or clipped == math.inf:
        raise _wrong("lambda_min_clipped", clipped, "a number")
    left_out = config.get("disable_corrector", [])
    if not isinstance(left_out, (list, tuple)) or not all(type(step) is int for step in left_out):
        raise _wrong("disable_corrector", left_out, "a list of whole numbers")
    if config.get("solver_p") is not None:
        raise _wrong("solver_p", config["solver_p"], "null: a second solver is not supported")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _wrong(key: str, value: Any, wanted: str) -> ModelFileError:
    return ModelFileError(f"{key} is {str(value)[:80]!r} in this model's scheduler config; it must be {wanted}.")

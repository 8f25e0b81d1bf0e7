"""A model's scheduler config: what of it describes the model, in words too, and which scheduler is its own.

`build` makes one of diffusers' schedulers from it. Keys that the new class would fill with assumptions of
its own are filled first with what the model's own class assumes. What a config states of its solver (Karras levels,
order and so on) goes to every class that takes it, as in diffusers' `X.from_config(pipe.scheduler.config)`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError, ModelFileError
from ..loaders.folder.schedulers import BETA_SCHEDULERS, PREDICTION_TYPES, check_scheduler_class, flow_error
from .schedulers import MODEL_DEFAULT, SCHEDULERS
from .settings import SPACINGS
from .solver_options import check_solver_options, solver_options, stated_options

_KEPT = (  # what of any diffusers scheduler config describes the model, not the old scheduler
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range"),
    *("set_alpha_to_one", "variance_type", "skip_prk_steps", "rescale_betas_zero_snr"),
)
_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large")  # the second is the first by way of its logarithm
_IDLE = (  # change nothing here
    *("dynamic_thresholding_ratio", "sample_max_value", "noise_sampler_seed"),
    *("flow_shift", "use_dynamic_shifting", "time_shift_type"),
)
_SWITCHES = ("clip_sample", "set_alpha_to_one", "skip_prk_steps", "rescale_betas_zero_snr", "thresholding")
_MAX_TRAIN_TIMESTEPS = 10_000


def model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a model's scheduler config that every scheduler shares, and what it states of its solver.

    A key the model does not state is what its own scheduler class would have assumed, never what
    the new one assumes (EulerAncestral clips nothing, DDIMScheduler clips by default). Of the solver
    (`solver_options`) only what is stated counts.
    Raises ModelFileError for schedules that the formulas here do not cover, by name.
    """
    stated = {**_own_scheduler(config).config, **config}
    kept = {key: stated[key] for key in _KEPT if key in stated}
    kept.setdefault("clip_sample", False)
    kept.setdefault("steps_offset", 0)
    kept.setdefault("timestep_spacing", "linspace")  # DPMSolverSinglestep knows no other
    if stated.get("thresholding"):
        raise ModelFileError(
            "This model's scheduler config asks for dynamic thresholding, which is not supported. Pick another "
            "model, or set thresholding to false in its scheduler_config.json."
        )
    if stated.get("use_flow_sigmas"):
        raise flow_error("use_flow_sigmas")
    if kept.get("prediction_type", "epsilon") not in PREDICTION_TYPES:
        raise flow_error(f"prediction type {kept['prediction_type']!r}")
    # the network is asked for 0.25 log(sigma) then, not for a timestep
    if stated.get("timestep_type") == "continuous" and kept.get("prediction_type") == "v_prediction":
        raise flow_error("timestep_type 'continuous'")
    # DPMSolverMultistep has a key of this name too, where None is its usual value
    if kept.get("variance_type") is None:
        kept.pop("variance_type", None)
    elif kept["variance_type"] not in _VARIANCES:
        learned = str(kept["variance_type"]).startswith("learned")
        why = "the network would have to predict it" if learned else f"known are {', '.join(_VARIANCES)}"
        raise ModelFileError(f"The variance type {str(kept['variance_type'])[:80]!r} is not supported: {why}.")
    return {**solver_options(config), **kept}


def build(config: Mapping[str, Any], scheduler: str) -> Any:
    """Make the scheduler of that name with diffusers, from `model_config`'s result.

    Raises InputError, naming the scheduler, when it cannot run this model; ModelFileError when none can.
    """
    import diffusers

    entry = SCHEDULERS[scheduler]
    cls, options = getattr(diffusers, entry.diffusers), entry.options
    if scheduler == "unipc" and config.get("final_sigmas_type", "zero") == "zero":
        # its last step, to level 0, is endless at any order but the first, and with bh1: no picture in diffusers
        options = {**options, "lower_order_final": True, "solver_type": "bh2"}
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in _arguments(cls):
        raise InputError(
            "scheduler", scheduler, f"{scheduler} cannot run models of zero terminal SNR. Pick ddim or euler."
        )
    try:
        return _made(cls, {**config, **options})
    except ImportError as e:
        package = "scipy" if config.get("use_beta_sigmas") and "torchsde" not in str(e) else entry.needs or str(e)
        other = "ddim" if package == "scipy" else "dpmpp_2m"
        advice = f"It needs the Python package {package}: install it, or pick {other}."
        raise InputError("scheduler", scheduler, advice) from e
    except (NotImplementedError, ModelFileError) as e:
        raise InputError("scheduler", scheduler, f"It cannot run this model ({str(e).rstrip('.')}). Pick ddim.") from e


def default_scheduler(config: Mapping[str, Any]) -> str:
    """Return the name here of the model's own scheduler, for `"model default"`.

    Raises InputError when none steps exactly as the model's own would: the class is not among ours, or its
    config asks for options that ours do not take.
    """
    shared = model_config(config)
    own, cls = _own_scheduler(config), config["_class_name"]
    # a name that says what the config says comes first: dpmpp_2m_karras before dpmpp_2m
    candidates = [(name, entry) for name, entry in SCHEDULERS.items() if entry.diffusers == cls]
    candidates.sort(key=lambda candidate: not candidate[1].options)
    least: list[str] | None = None
    for scheduler, _ in candidates:
        ours = build(shared, scheduler).config
        lost = [k for k, v in own.config.items() if k not in _IDLE and not k.startswith("_") and ours[k] != v]
        if not lost:
            return scheduler
        least = lost if least is None or len(lost) < len(least) else least
    asked = " with " + ", ".join(f"{k}={own.config[k]!r}" for k in least) if least else ""
    raise InputError(
        "scheduler",
        MODEL_DEFAULT,
        f"This model's own is {cls}{asked}, which is not among the schedulers here: pick one.",
    )


def describe(config: Mapping[str, Any]) -> str:
    """Describe the model's own scheduler config in a few lines. Raises ModelFileError as `model_config` does."""
    kept = model_config(config)
    if kept.get("trained_betas") is not None:
        betas = "a list in the config"
    else:
        betas = f"{kept['beta_schedule']} from {kept['beta_start']:g} to {kept['beta_end']:g}"
    clip = f"to +-{kept.get('clip_sample_range', 1.0):g}" if kept["clip_sample"] else "no"
    try:
        own = default_scheduler(config)
    except InputError:
        own = "none of the schedulers here"
    lines = [
        f"{config['_class_name']} ({MODEL_DEFAULT}: {own})",
        f"training steps: {kept['num_train_timesteps']}",
        f"betas: {betas}{', zero terminal SNR' if kept.get('rescale_betas_zero_snr') else ''}",
        f"network predicts: {kept['prediction_type']}",
        f"timestep spacing: {kept['timestep_spacing']}, offset {kept['steps_offset']}",
        f"clean sample clipped: {clip}",
    ]
    options = stated_options(config)
    if options:
        lines.append(f"solver: {', '.join(f'{key} {value}' for key, value in options.items())}")
    return "\n".join(lines)


def _own_scheduler(config: Mapping[str, Any]) -> Any:
    """Make the model's own scheduler with diffusers. Raises ModelFileError."""
    import diffusers

    name = check_scheduler_class(config.get("_class_name"))
    _check_values(config)
    check_solver_options(config)
    cls = getattr(diffusers, name, None)
    if cls is None:
        there = ", ".join(known for known in BETA_SCHEDULERS if hasattr(diffusers, known))
        raise ModelFileError(
            f"This model's scheduler is {name}, which diffusers {diffusers.__version__} does not have. Install a newer "
            f"diffusers, or name another in its scheduler_config.json: {there}."
        )
    try:
        return _made(cls, config)
    except ImportError as e:
        raise ModelFileError(f"This model's scheduler is {name}, which needs a Python package: {e}") from e
    except NotImplementedError as e:
        raise ModelFileError(f"This model's scheduler config cannot be used: {e}.") from e


def _made(cls: type, config: Mapping[str, Any]) -> Any:
    """Make a scheduler from the entries of a config that its class takes. Raises ModelFileError."""
    known = _arguments(cls)
    try:
        return cls(**{k: v for k, v in config.items() if k in known})
    except (TypeError, ValueError, IndexError, AttributeError) as e:
        raise ModelFileError(f"This model's scheduler config cannot be used by {cls.__name__}: {e}.") from e


def _arguments(cls: type) -> Mapping[str, Any]:
    return inspect.signature(cls).parameters


def _check_values(config: Mapping[str, Any]) -> None:
    """Raise ModelFileError for numbers that no schedule has: a config comes from strangers."""
    for key in _SWITCHES:
        if key in config and not isinstance(config[key], bool):
            found = str(config[key])[:80]
            raise ModelFileError(f"{key} is {found!r} in this model's scheduler config; it must be true or false.")
    count = config.get("num_train_timesteps", 1000)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_TRAIN_TIMESTEPS:
        raise ModelFileError(
            f"num_train_timesteps is {count!r} in this model's scheduler config; it must be a whole number from 1 to "
            f"{_MAX_TRAIN_TIMESTEPS}."
        )
    offset = config.get("steps_offset", 0)
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < max(count, 2):
        raise ModelFileError(
            f"steps_offset is {offset!r} in this model's scheduler config; it must be from 0 to {count}."
        )
    spacing = config.get("timestep_spacing", "leading")
    if spacing not in SPACINGS:
        raise ModelFileError(
            f"timestep_spacing is {spacing!r} in this model's scheduler config, none of {', '.join(SPACINGS)}."
        )
    betas = config.get("trained_betas")
    if betas is not None and (not isinstance(betas, (list, tuple)) or len(betas) != count):
        raise ModelFileError(f"trained_betas in this model's scheduler config must be a list of {count} numbers.")
    numbers = {key: config[key] for key in ("beta_start", "beta_end") if key in config}
    for name, value in [*numbers.items(), *(("trained_betas", beta) for beta in betas or ())]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise ModelFileError(f"{name} is {value!r} in this model's scheduler config; betas are between 0 and 1.")
    clip = config.get("clip_sample_range", 1.0)
    if isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 0 < clip < math.inf:
        raise ModelFileError(f"clip_sample_range is {clip!r} in this model's scheduler config; it must be above 0.")

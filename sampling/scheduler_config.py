"""A model's scheduler config: what of it describes the model, in words too, and which scheduler is its own.

`build` makes one of diffusers' schedulers from it. Keys that the new class would fill with assumptions of
its own are filled first with what the model's own class assumes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError, ModelFileError
from ..loaders.folder.rules import SCHEDULER_CLASSES
from .schedulers import MODEL_DEFAULT, SCHEDULERS
from .steps import PREDICTION_TYPES

_KEPT = (  # what of any diffusers scheduler config describes the model, not the old scheduler
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range"),
    *("set_alpha_to_one", "variance_type", "skip_prk_steps", "rescale_betas_zero_snr"),
)
_IDLE = ("dynamic_thresholding_ratio", "sample_max_value", "noise_sampler_seed")  # change nothing here
_SPACINGS = ("leading", "linspace", "trailing")
_MAX_TRAIN_TIMESTEPS = 10_000


def model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a model's scheduler config that every scheduler shares.

    A key the model does not state is what its own scheduler class would have assumed, never what
    the new one assumes (EulerAncestral clips nothing, DDIMScheduler clips by default).
    Raises ModelFileError for schedules that the formulas here do not cover, by name.
    """
    stated = {**_own_scheduler(config).config, **config}
    kept = {key: stated[key] for key in _KEPT if key in stated}
    kept.setdefault("clip_sample", False)
    kept.setdefault("steps_offset", 0)
    if stated.get("thresholding"):
        raise ModelFileError(
            "This model's scheduler config asks for dynamic thresholding, which is not supported. Pick another "
            "model, or set thresholding to false in its scheduler_config.json."
        )
    if stated.get("use_flow_sigmas"):
        raise _flow_error("use_flow_sigmas")
    if kept.get("prediction_type", "epsilon") not in PREDICTION_TYPES:
        raise _flow_error(f"prediction type {kept['prediction_type']!r}")
    # DPMSolverMultistep has a key of this name too, where None is its usual value
    if kept.get("variance_type") is None:
        kept.pop("variance_type", None)
    elif kept["variance_type"] not in ("fixed_small", "fixed_large"):
        raise ModelFileError(
            f"The variance type {kept['variance_type']!r} is not supported: the network would have to predict it."
        )
    return kept


def build(config: Mapping[str, Any], scheduler: str) -> Any:
    """Make the scheduler of that name with diffusers, from `model_config`'s result.

    Raises InputError, naming the scheduler, when it cannot run this model; ModelFileError when none can.
    """
    import diffusers

    entry = SCHEDULERS[scheduler]
    cls = getattr(diffusers, entry.diffusers)
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in _arguments(cls):
        raise InputError(
            "scheduler", scheduler, f"{scheduler} cannot run models of zero terminal SNR. Pick ddim or euler."
        )
    try:
        return _made(cls, {**config, **entry.options})
    except ImportError as e:
        package = entry.needs or str(e)
        raise InputError(
            "scheduler", scheduler, f"It needs the Python package {package}: install it, or pick dpmpp_2m."
        ) from e
    except NotImplementedError as e:
        raise InputError("scheduler", scheduler, f"It cannot run this model ({e}). Pick ddim.") from e


def default_scheduler(config: Mapping[str, Any]) -> str:
    """Return the name here of the model's own scheduler, for `"model default"`.

    Raises InputError when none steps exactly as the model's own would: the class is not among ours, or its
    config asks for options that ours do not take.
    """
    shared = model_config(config)
    own, cls = _own_scheduler(config), config["_class_name"]
    lost: list[str] = []
    for scheduler, entry in SCHEDULERS.items():
        if entry.diffusers == cls:
            ours = build(shared, scheduler).config
            lost = [k for k, v in own.config.items() if k not in _IDLE and not k.startswith("_") and ours[k] != v]
            if not lost:
                return scheduler
    asked = " with " + ", ".join(f"{k}={own.config[k]!r}" for k in lost) if lost else ""
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
    return "\n".join(lines)


def _own_scheduler(config: Mapping[str, Any]) -> Any:
    """Make the model's own scheduler with diffusers. Raises ModelFileError."""
    import diffusers

    name = config.get("_class_name")
    if isinstance(name, str) and name.startswith("EDM"):
        raise ModelFileError(
            f"This model's scheduler is {name}: models trained in EDM's scaling (Playground v2.5) are not "
            "supported. Pick Playground v2, or another SDXL model."
        )
    if isinstance(name, str) and "FlowM" in name:
        raise _flow_error(name)
    if name not in SCHEDULER_CLASSES:
        raise ModelFileError(
            f"This model's scheduler is {name!r}, whose noise schedule is not known here. "
            f"Known: {', '.join(sorted(SCHEDULER_CLASSES))}."
        )
    _check_values(config)
    try:
        return _made(getattr(diffusers, name), config)
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
    return inspect.signature(cls.__init__).parameters


def _flow_error(what: str) -> ModelFileError:
    return ModelFileError(
        f"This model's scheduler config says {what}: flow-matching and EDM models are not supported. Pick a model "
        f"that predicts {', '.join(PREDICTION_TYPES)}, such as SDXL or Playground v2."
    )


def _check_values(config: Mapping[str, Any]) -> None:
    """Raise ModelFileError for numbers that no schedule has: a config comes from strangers."""
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
    if spacing not in _SPACINGS:
        raise ModelFileError(
            f"timestep_spacing is {spacing!r} in this model's scheduler config, none of {', '.join(_SPACINGS)}."
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

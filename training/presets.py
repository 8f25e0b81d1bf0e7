"""Presets: settings for how much memory there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from .config import FineTuneConfig

if TYPE_CHECKING:
    from ..loaders.model import DiffusionModel

_SMALL = {"train_batch_size": 1, "rollout_batch_size": 1, "gradient_checkpointing": "on", "rank": 8}
# the guard looks every second epoch, which costs about a twentieth of the time; of the tiny models every epoch, since
# clipped and matching change them within one
_GUARD = {"guard": "on", "evaluate_every": 2, "evaluate_samples": 32, "evaluate_steps": 0}
PRESETS: dict[str, dict[str, Any]] = {
    "8 GB": {**_SMALL, "height": 512, "width": 512, "targets": "attention", "samples_per_epoch": 32},
    "12 GB": {**_SMALL, "height": 512, "width": 512, "train_batch_size": 4, "rollout_batch_size": 4},
    "24 GB": {"height": 768, "width": 768, "train_batch_size": 4, "rollout_batch_size": 8, "rank": 16,
              "gradient_checkpointing": "on", "samples_per_epoch": 128},
    "80 GB": {"train_batch_size": 0, "rollout_batch_size": 16, "rank": 32, "samples_per_epoch": 256},
    "CPU": {"rollout_batch_size": 32, "train_batch_size": 32, "rank": 16, "targets": "all", "steps": 8,
            "guidance_scale": 3.0, "learning_rate": 1.2e-3, "clip_range": 1.25e-3, "samples_per_epoch": 128,
            "group_size": 16, "timestep_fraction": 1.0, "window_stop": 0.5, "fresh_noise": "window",
            "learn_from": 0.5, "evaluate_every": 1},
}  # fmt: skip


# what an algorithm needs otherwise than the presets, which were found with clipped
_FROM_FINISHED = {"updates_per_epoch": 2}
_BY_ALGORITHM: dict[str, dict[str, Any]] = {
    "matching": {**_FROM_FINISHED, "rehearsal_weight": 0.1},  # without it pictures of a prompt end up alike
    "reward_gradient": _FROM_FINISHED,
}
_ON_CPU: dict[str, dict[str, Any]] = {
    "matching": {"timesteps_per_picture": 4},
    "reward_gradient": {"evaluate_every": 2},  # its epochs are short
}
_ROOM_FOR_GRADIENTS = ("24 GB", "80 GB", "CPU")  # of the VAE and the reward


def best_algorithm(name: str, model: DiffusionModel, reward: Any) -> str:
    """Choose the algorithm for a preset, a model and a reward, by what was measured (benchmarks/RESULTS.md).

    A reward that looks at the picture alone and has gradients is climbed: fewest pictures. One that reads the prompt
    wants things in other places, which the last steps cannot move: matching, several times as fast as clipped. Models
    that were distilled to a few steps can only be trained by clipped.
    """
    from .algorithms.matching import check_not_distilled

    try:
        check_not_distilled(model)
    except InputError:
        return "clipped"
    looks_alone = getattr(reward, "differentiable", False) and not getattr(reward, "needs_prompt", True)
    return "reward_gradient" if looks_alone and name in _ROOM_FOR_GRADIENTS else "matching"


def preset_values(name: str, chosen: Mapping[str, Any], model: DiffusionModel | None = None) -> dict[str, Any]:
    """Return what a preset sets beside settings that were `chosen`, less what those rule out.

    No picture size beyond what `model` was trained at, and none at all for one that knows a single size.
    Raises InputError for the name.
    """
    if name not in PRESETS:
        raise InputError("preset", name, f"Pick one of {', '.join(PRESETS)}.")
    algorithm = chosen.get("algorithm", "clipped")
    own = _BY_ALGORITHM.get(algorithm, {})
    if name == "CPU":
        own = own | _ON_CPU.get(algorithm, {})
    values = {k: v for k, v in {**_GUARD, **PRESETS[name], **own}.items() if k not in chosen}
    if chosen.get("guard", "on") != "on" or chosen.get("evaluate_every", 1) == 0:
        values = {k: v for k, v in values.items() if k not in _GUARD}
    if chosen.get("scheduler", "ddim") != "ddim":
        values.pop("fresh_noise", None)
    if chosen.get("advantages", "group") != "group":
        values.pop("shared_start", None)
    if "window_start" in chosen:  # a window is one thing
        values.pop("window_stop", None)
    if model is not None:
        for side, native in zip(("height", "width"), model.native_size, strict=True):
            if not model.conditional:
                values.pop(side, None)
            elif side in values:
                values[side] = min(values[side], native)
    return values


def preset(name: str, model: DiffusionModel | None = None, **changes: Any) -> FineTuneConfig:
    """Make the config of a preset: how much memory there is, with `changes` on top.

    "CPU" is for the embedded tiny models, the others for SDXL; with `model` pictures are never larger than those it
    was trained on. Raises InputError for an unknown name or field.
    """
    unknown = set(changes) - {f.name for f in fields(FineTuneConfig)}
    if unknown:
        raise InputError("config", sorted(unknown)[0], "There is no such setting.")
    return FineTuneConfig(**{**preset_values(name, changes, model), **changes})

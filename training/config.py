"""`FineTuneConfig`: the settings of a run, checked against each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import InputError
from ..core.settings import check_fields
from ..sampling.schedulers import MODEL_DEFAULT
from .algorithms.registry import KNOWN
from .fields import TRAINABLE, FineTuneFields


@dataclass(frozen=True)
class FineTuneConfig(FineTuneFields):
    """Say how to fine-tune on a reward: by DDPO (Black et al. 2023, arXiv 2305.13301) or another of `ALGORITHMS`.

    Everything random in a run follows from `seed`. Raises InputError, naming the field, when a value
    is outside its limits or does not go with another.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        _check_sampling(self)
        _check_groups(self)
        _check_learning(self)

    @property
    def lora_alpha(self) -> float:
        """The alpha to use; the rank where none is set."""
        return self.alpha or float(self.rank)

    @property
    def base_weight(self) -> float:
        """The weight of the distance to the model before training, in its algorithm's own terms; 0 is off."""
        return self.kl_weight if KNOWN[self.algorithm].gaussian_steps else self.reference_weight

    @property
    def guarded(self) -> bool:
        """Whether the guard ends the run and chooses the epoch; auto is off where no preset decided."""
        return self.guard == "on"

    @property
    def step_eta(self) -> float:
        """eta for the schedule: only ddim has one."""
        return self.eta if self.scheduler == "ddim" else 0.0


def untrainable(name: str, scheduler: str) -> InputError:
    """Return the refusal of a scheduler whose steps have no probability."""
    return InputError(
        name,
        scheduler,
        f"The steps of {scheduler} are not random in a known way, so they have no probability to learn from. Pick "
        "ddim with eta 1 (the paper's), ddpm, or euler_ancestral; afterwards sample with any scheduler. Or pick "
        "matching as the algorithm, which takes any.",
    )


def without_noise(eta: float) -> InputError:
    """Return the refusal of ddim without fresh noise."""
    return InputError("eta", eta, "ddim at eta 0 adds no noise, so there is nothing to learn from. Set eta to 1.")


def check_starts(config: FineTuneConfig, scheduler: str) -> None:
    """Raise InputError where pictures that start alike would be the same picture: no step draws noise."""
    random = scheduler in TRAINABLE and not (scheduler == "ddim" and config.eta == 0)
    if config.shared_start == "on" and not random:
        advice = f"By {scheduler} without fresh noise the pictures of a group would all be the same. Set it to off."
        raise InputError("shared_start", config.shared_start, advice)


# --- rules between fields -----------------------------------------------------------------------


def _check_sampling(config: FineTuneConfig) -> None:
    gaussian_steps = KNOWN[config.algorithm].gaussian_steps
    if gaussian_steps and config.scheduler not in (*TRAINABLE, MODEL_DEFAULT):
        raise untrainable("scheduler", config.scheduler)
    if gaussian_steps and config.scheduler == "ddim" and config.eta == 0:
        raise without_noise(config.eta)
    if config.scheduler != MODEL_DEFAULT:
        check_starts(config, config.scheduler)
    if config.fresh_noise == "window" and config.scheduler != "ddim":
        raise InputError("fresh_noise", config.fresh_noise, f"Only ddim can; {config.scheduler} needs everywhere.")
    if config.window_start >= config.window_stop:
        raise InputError("window_start", config.window_start, f"It must be below window_stop, {config.window_stop}.")


def _check_groups(config: FineTuneConfig) -> None:
    if config.samples_per_epoch % config.group_size:
        advice = f"It must be a multiple of group_size, {config.group_size}."
        raise InputError("samples_per_epoch", config.samples_per_epoch, advice)
    if config.advantages == "group" and config.group_size == 1:
        advice = "One picture has nothing to be compared with. Take 4 or more, or advantages batch."
        raise InputError("group_size", 1, advice)
    if config.shared_start == "on" and config.advantages != "group":
        raise InputError("shared_start", config.shared_start, "It needs advantages group: scores of one start.")
    if config.min_history > config.history:
        raise InputError("min_history", config.min_history, f"It must be at most history, {config.history}.")


def _check_learning(config: FineTuneConfig) -> None:
    if KNOWN[config.algorithm].one_update and config.updates_per_epoch != 1:
        advice = f"The {config.algorithm} form is right for one update only; set 1, or pick clipped as the algorithm."
        raise InputError("updates_per_epoch", config.updates_per_epoch, advice)
    matching = config.algorithm == "matching"
    if config.kl_weight and not KNOWN[config.algorithm].gaussian_steps:
        advice = (
            f"It is a distance of steps with probabilities, which {config.algorithm} has none of. Set "
            "reference_weight instead."
        )
        raise InputError("kl_weight", config.kl_weight, advice)
    if config.reference_weight and KNOWN[config.algorithm].gaussian_steps:
        advice = f"The {config.algorithm} algorithm has kl_weight for it; reference_weight is matching's."
        raise InputError("reference_weight", config.reference_weight, advice)
    if matching and config.matching_form == "nft" and config.proximal_weight == 0:
        raise InputError("proximal_weight", 0, "nft needs it above 0: with 0 nothing is learned. Set 1, or pick awm.")
    if config.rehearsal_weight and not matching:
        advice = f"Only matching rehearses; {config.algorithm} does not. Set 0, or pick matching as the algorithm."
        raise InputError("rehearsal_weight", config.rehearsal_weight, advice)
    if config.kl_mask and config.algorithm != "clipped":
        advice = f"It is a trust region for algorithm clipped; {config.algorithm} has none to put it in the place of."
        raise InputError("kl_mask", config.kl_mask, advice)
    if config.shared_rollouts == "on":
        if not matching:
            advice = f"{config.algorithm} learns from every step of its own pictures. Pick matching as the algorithm."
            raise InputError("shared_rollouts", "on", advice)
        if config.checkpoint_every != 1:
            advice = "Others read the model of each epoch from its checkpoint. Set checkpoint_every to 1."
            raise InputError("shared_rollouts", "on", advice)
        if config.kl_gate != "off":
            advice = "Who makes the pictures does not compare all rewards. Set kl_gate to off."
            raise InputError("shared_rollouts", "on", advice)
    if config.guarded and not config.evaluate_every:
        raise InputError("guard", "on", "It looks at the comparisons: set evaluate_every above 0.")
    if config.patience and not config.evaluate_every:
        raise InputError("patience", config.patience, "Stopping early needs evaluate_every above 0.")


# --- to resume ----------------------------------------------------------------------------------

# what changes nothing in what is learned beyond rounding, so that a run may go on with other values
_FREE = (
    *("epochs", "checkpoint_every", "sample_every", "evaluate_every", "evaluate_samples", "evaluate_steps", "patience"),
    *(
        "train_batch_size",
        "rollout_batch_size",
        "gradient_checkpointing",
        "guard",
        "diversity_floor",
        "shared_rollouts",
    ),
)


def identity(config: FineTuneConfig) -> dict[str, Any]:
    """Return the fields that must be the same for a run to go on where it stopped."""
    return {k: v for k, v in asdict(config).items() if k not in _FREE}

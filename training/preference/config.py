"""`PreferenceConfig`: the settings of a run that learns from preferences, beside those of every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.settings import setting
from ..algorithms.registry import OFFLINE
from ..config import FineTuneConfig
from ..presets import preset_values

if TYPE_CHECKING:
    from ...loaders.model import DiffusionModel

# of a preset, what is about pictures and memory: the rest is for learning from a reward
_FROM_PRESET = (
    *("height", "width", "train_batch_size", "rollout_batch_size", "gradient_checkpointing", "targets"),
    *("steps", "guidance_scale", "window_stop"),
)


PREFERENCE_FORMS = ("matching", "dpo")


@dataclass(frozen=True)
class PreferenceConfig(FineTuneConfig):
    """Say how to learn from preferences (`algorithms.losses`: `matching_loss` from the base on, and `preference_loss`).

    `steps`, `scheduler` and `guidance_scale` are those of sample grids and comparisons: nothing is sampled to learn.
    Raises InputError as `FineTuneConfig`.
    """

    algorithm: str = setting("preference", "How it learns.", options=OFFLINE)
    epochs: int = setting(10, "Rounds of learning; what there is is gone through again and again.", low=1, high=100_000)
    samples_per_epoch: int = setting(
        128, "Pictures learned from in each epoch: 128 are 64 pairs. A multiple of group_size.", low=2, high=65_536
    )
    group_size: int = setting(
        2,
        "Pictures of one prompt that are compared at once. 2: pairs, a better and a worse one. More: the best and the "
        "worst halves of so many, weighed by their scores.",
        low=2,
        high=64,
    )
    pairs_per_prompt: int = setting(
        4,
        "From one ranked table: pairs of each prompt, the best with the worst, the second best with the second worst, "
        "and so on.",
        low=1,
        high=1000,
    )
    preference_form: str = setting(
        "matching",
        "How it learns from them. matching: towards the better and away from the worse, each picture held near what it "
        "was. dpo: the published Diffusion-DPO, which tells pairs apart sooner and breaks pictures sooner.",
        options=PREFERENCE_FORMS,
    )
    proximal_weight: float = setting(
        1.0,
        "Form matching: how near the model stays to the one it was. Less learns more from each pair. 1 is usual.",
        low=0.01,
        high=100.0,
        step=0.1,
    )
    beta: float = setting(
        500.0,
        "Form dpo: how near the model stays to the one it was. Less learns more from each pair and breaks pictures "
        "sooner. 500 suits a LoRA, 5000 a full fine-tune.",
        low=0.01,
        high=1e6,
        step=10.0,
    )
    held_out_share: float = setting(
        0.1,
        "Share of the prompts whose pairs are not learned from but asked now and then: does the model prefer what you "
        "do where nobody told it? 0 is none.",
        low=0.0,
        high=0.5,
        step=0.01,
    )
    evaluate_every: int = setting(
        1, "Epochs between questions about pairs that are not learned from; 0 is none.", low=0, high=10_000
    )

    def __post_init__(self) -> None:
        for name in ("kl_weight", "reference_weight"):
            if getattr(self, name):
                advice = "Preferences have proximal_weight and beta for it: set this to 0."
                raise InputError(name, getattr(self, name), advice)
        super().__post_init__()

    @property
    def base_weight(self) -> float:
        """Return a number above 0: the untrained model is always asked too."""
        return 1.0


_ANOTHER_MEANING = ("algorithm", "epochs", "samples_per_epoch", "group_size")


def with_preset(
    name: str, settings: FineTuneConfig | None, model: DiffusionModel | None = None, **changes: Any
) -> PreferenceConfig:
    """Make a config: a preset's memory, over it what differs from the defaults in `settings`, over it `changes`.

    An empty name is no preset. Raises InputError for the name, and as `PreferenceConfig`.
    """
    changed = _changed(settings)
    sizes = preset_values(name, {**changed, **changes}, model) if name else {}
    return PreferenceConfig(**{**{k: sizes[k] for k in _FROM_PRESET if k in sizes}, **changed, **changes})


def _changed(settings: FineTuneConfig | None) -> Mapping[str, Any]:
    """Return what was changed in settings for rewards, but for what has another meaning here."""
    if settings is None:
        return {}
    kept = [spec for spec in fields(FineTuneConfig) if spec.name not in _ANOTHER_MEANING]
    return {spec.name: getattr(settings, spec.name) for spec in kept if getattr(settings, spec.name) != spec.default}

"""Settings of an evaluation. Widgets, limits and tooltips come from these fields too."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.settings import MAX_SEED, check_fields, setting

MAX_PICTURES = 100_000
OVERALL = "overall"  # what all categories together are called
EXTRACTORS = ("tiny-vision", "inception-v3")
RESIZES = ("clean", "legacy")


@dataclass(frozen=True)
class EvaluationSettings:
    """How to measure. Raises InputError, naming the field, when a value is outside its limits."""

    images_per_prompt: int = setting(
        1, "Pictures sampled of each prompt. Two or more also measure how different they are.", low=1, high=64
    )
    seed: int = setting(
        0, "The first picture is made from this seed, the next from one more.", low=0, high=MAX_SEED - MAX_PICTURES
    )
    kid_subsets: int = setting(100, "Subsets KID is the mean of.", low=1, high=1000)
    kid_subset_size: int = setting(1000, "Pictures in a subset of KID.", low=2, high=5_000)
    resamples: int = setting(
        20, "Times FID is computed again of pictures drawn anew, for its interval. 0: no interval.", low=0, high=1000
    )

    def __post_init__(self) -> None:
        check_fields(self)

"""Settings of a search. Widgets, limits and tooltips come from these fields too."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InputError
from ..core.settings import check_fields, setting

METHODS = {
    "best of n": "pictures from as many seeds as the budget pays for; the measure of all others",
    "particle steering": "that many at once; on the way bad ones give their place to copies of good ones",
    "drafts": "many quick drafts first, then fewer whole pictures that are led towards the good drafts",
    "noise search": "half the budget on seeds, the rest on small changes of the best one's noise",
    "prune": "more starts than the budget pays for; the worse ones are given up on the way",
}
POTENTIALS = ("difference", "maximum")
SWITCH = ("off", "on")


@dataclass(frozen=True)
class SearchSettings:
    """How to search. Raises InputError, naming the field, when a value is outside its limits or goes with no other."""

    method: str = setting(
        "best of n", "; ".join(f"{name}: {what}" for name, what in METHODS.items()) + ".", options=tuple(METHODS)
    )
    budget: int = setting(
        400,
        "Network evaluations for each prompt: steps times pictures. 400 at 25 steps is what best of 16 costs.",
        low=2,
        high=1_000_000,
    )
    compare: str = setting(
        "off",
        "on: also samples the best of as many seeds as the same budget pays for, and says which was better. Twice the "
        "time.",
        options=SWITCH,
        optional=True,
    )
    temperature: float = setting(
        4.0,
        "particle steering: how hard good particles push out bad ones, for a reward whose scores of one prompt differ "
        "by one standard deviation. 0 is plain sampling.",
        low=0.0,
        high=100.0,
        step=0.5,
        optional=True,
    )
    potential: str = setting(
        "difference",
        "particle steering: difference weighs what a particle has gained since it was last looked at, maximum its best "
        "so far.",
        options=POTENTIALS,
        optional=True,
    )
    looks: int = setting(
        4,
        "particle steering and prune: how often the predicted pictures are looked at on the way. Each look decodes and "
        "scores all of them.",
        low=1,
        high=100,
        optional=True,
    )
    look_from: float = setting(
        0.2, "Where on the way the first look is; earlier there is nothing to see.", low=0.0, high=0.95, step=0.05,
        optional=True,
    )  # fmt: skip
    look_until: float = setting(
        0.8, "Where the last look is: later, changes are small.", low=0.05, high=1.0, step=0.05, optional=True
    )
    draft_steps: int = setting(
        4, "drafts: steps of a draft. Fewer are cheaper and less like the picture.", low=1, high=1000, optional=True
    )
    draft_share: float = setting(
        0.5, "drafts: share of the budget for them.", low=0.05, high=0.95, step=0.05, optional=True
    )
    guide_scale: float = setting(
        1.0, "drafts: how strongly pictures are led towards good drafts. 0 leaves them alone.",
        low=0.0, high=100.0, step=0.1, optional=True,
    )  # fmt: skip
    neighbours: int = setting(
        4, "noise search: changes of the best noise that are tried in a round.", low=1, high=256, optional=True
    )
    reach: float = setting(
        0.3,
        "noise search: how far a change goes: 0 is the same noise, 1 another.",
        low=0.01,
        high=1.0,
        step=0.01,
        optional=True,
    )
    most_decodes: int = setting(
        0, "Stop when so many pictures of a prompt were decoded. 0: no limit.", low=0, high=1_000_000, optional=True
    )
    most_seconds: int = setting(
        0, "Stop when a prompt took so many seconds. 0: no limit.", low=0, high=1_000_000, optional=True
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.look_from >= self.look_until:
            raise InputError("look_from", self.look_from, f"It must be below look_until, {self.look_until}.")

    def pictures(self, steps: int) -> int:
        """Return how many whole pictures of `steps` the budget pays for. Raises InputError for none."""
        if self.budget < steps:
            advice = f"It does not pay for one picture of {steps} steps. Set {steps} or more, or take fewer steps."
            raise InputError("budget", self.budget, advice)
        return self.budget // steps

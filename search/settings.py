"""Settings of a search. Widgets, limits and tooltips come from these fields too."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InputError
from ..core.settings import MAX_SEED, check_fields, setting

BEST_OF_N, PARTICLES, DRAFTS, NOISE, PRUNE = METHODS = (
    "best_of_n",
    "particle steering",
    "drafts",
    "noise search",
    "prune",
)
POTENTIALS = ("difference", "max")
OFF_ON = ("off", "on")
MAX_BUDGET = 1_000_000


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    method: str = setting(
        BEST_OF_N,
        "How the budget is spent. best_of_n: finished pictures, the best are kept. particle steering: promising ones "
        "are copied on the way, weak ones dropped. drafts: quick pictures steer slow ones. noise search: steps around "
        "the best picture's noise. prune: many are begun, the promising ones finished.",
        options=METHODS,
    )
    budget: int = setting(
        400,
        "Network evaluations to spend on each prompt, the same for every method: 400 is 16 pictures of 25 steps.",
        low=1,
        high=MAX_BUDGET,
    )
    keep: int = setting(4, "Pictures given out for each prompt, best first, or as many as there are.", low=1, high=256)
    seed: int = setting(0, "Everything random in the search comes from it.", low=0, high=MAX_SEED - MAX_BUDGET)
    compare: str = setting(
        "off",
        "on spends the same budget once more on best_of_n and says which was better. off says what is known without.",
        options=OFF_ON,
        optional=True,
    )
    strength: float = setting(
        4.0,
        "Particle steering and drafts: how much a point of reward counts (lambda). 0 changes nothing; too much leaves "
        "one picture's family.",
        low=0.0,
        high=1000.0,
        step=0.5,
        optional=True,
    )
    potential: str = setting(
        "difference",
        "Particle steering: difference looks at what a picture gained since the last look, max at new records only.",
        options=POTENTIALS,
        optional=True,
    )
    temperature: str = setting(
        "fixed",
        "Particle steering: adaptive lowers the strength of each look until half of the particles still count.",
        options=("fixed", "adaptive"),
        optional=True,
    )
    look_every: int = setting(
        4,
        "Particle steering: steps between two looks at the particles. Each look decodes and scores them all.",
        low=1,
        high=1000,
        optional=True,
    )
    look_from: float = setting(
        0.2,
        "Share of the steps before the first look of particle steering, and at which prune cuts.",
        low=0.0,
        high=1.0,
        step=0.05,
        optional=True,
    )
    look_until: float = setting(
        0.8, "Particle steering: no look after this share of the steps.", low=0.0, high=1.0, step=0.05, optional=True
    )
    finish: float = setting(
        0.25, "prune: the share of the begun pictures that is finished.", low=0.01, high=1.0, step=0.01, optional=True
    )
    draft_steps: int = setting(4, "drafts: steps of a draft (ddim).", low=1, high=1000, optional=True)
    draft_share: float = setting(
        0.5, "drafts: the share of the budget that goes into drafts.", low=0.05, high=0.95, step=0.05, optional=True
    )
    guide_scale: float = setting(
        1.0, "drafts: how strongly they pull. 0 is not at all.", low=0.0, high=1000.0, step=0.1, optional=True
    )
    first_share: float = setting(
        0.5,
        "noise search: the share of the budget for unrelated pictures, of which the best is where it begins.",
        low=0.05,
        high=1.0,
        step=0.05,
        optional=True,
    )
    angle: float = setting(
        0.5,
        "noise search: how far a step goes, in radians; 1.57 is an unrelated noise. It shrinks where nothing better "
        "is found.",
        low=0.01,
        high=1.57,
        step=0.01,
        optional=True,
    )
    max_seconds: float = setting(
        0.0, "Stop looking further after so many seconds a prompt. 0 is no limit.", low=0.0, high=1e6, optional=True
    )
    max_decodes: int = setting(
        0, "No more decodes than this a prompt. 0 is no limit.", low=0, high=MAX_BUDGET, optional=True
    )
    max_scorings: int = setting(
        0,
        "The reward looks at no more pictures than this a prompt. 0 is no limit.",
        low=0,
        high=MAX_BUDGET,
        optional=True,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.look_from > self.look_until:
            raise InputError("look_from", self.look_from, f"It must be at most look_until, {self.look_until:g}.")

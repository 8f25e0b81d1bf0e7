"""The ways to spend a budget: one file each, a function of a `Task` that returns what it finished."""

from collections.abc import Callable, Mapping

from ..settings import BEST_OF_N, DRAFTS, NOISE, PARTICLES, PRUNE
from ..task import Finished, Task
from .best_of_n import best_of_n
from .drafts import drafts
from .noise_search import noise_search
from .particles import particle_steering
from .prune import prune

FUNCTIONS: Mapping[str, Callable[[Task], Finished]] = {
    BEST_OF_N: best_of_n,
    PARTICLES: particle_steering,
    DRAFTS: drafts,
    NOISE: noise_search,
    PRUNE: prune,
}

"""What every method is given, one prompt's search, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..core.errors import InputError
from ..core.progress import Cancellable
from ..rewards.reward import Reward
from ..sampling.settings import MAX_BATCH
from .recipe import Recipe
from .sampler import Particles, Sampler
from .settings import SearchSettings

Columns = Mapping[str, torch.Tensor]


class Finished(NamedTuple):
    """Pictures that a method finished, N of them, in the order in which they were.

    Attributes:
        latents: (N, C, h, w) float32.
        images: (N, H, W, 3) in [0, 1].
        columns: the reward's and its members' scores, (N,) each.
        recipes: how each was made.
        independent: how many of the first are unrelated pictures that nothing was chosen by: their scores say what
            best-of-n gives.
        note: what is to be said of the run; empty for nothing.
    """

    latents: torch.Tensor
    images: torch.Tensor
    columns: Columns
    recipes: tuple[Recipe, ...]
    independent: int = 0
    note: str = ""

    def __add__(self, other: object) -> Finished:
        assert isinstance(other, Finished)
        return self._replace(
            latents=torch.cat([self.latents, other.latents]),
            images=torch.cat([self.images, other.images]),
            columns={name: torch.cat([column, other.columns[name]]) for name, column in self.columns.items()},
            recipes=self.recipes + other.recipes,
            note=other.note or self.note,
        )


class Look(NamedTuple):
    """One look at the pictures of a prompt while they are made, for who shows them.

    Attributes:
        step, steps: how far they are.
        scores: (N,) of the pictures of their predicted x0, or of the finished ones.
        images: (N, H, W, 3) those pictures.
        first: the number of the first of them, counted through all looks of the prompt.
        parents: the number of the picture that each came from; -1 for one begun anew.
        alive: whether it goes on.
    """

    step: int
    steps: int
    scores: torch.Tensor
    images: torch.Tensor
    first: int
    parents: Sequence[int]
    alive: Sequence[bool]


@dataclass(eq=False)
class Task:
    """One prompt's search: what makes pictures, what judges them, how, and who looks on."""

    sampler: Sampler
    reward: Reward
    settings: SearchSettings
    on_look: Callable[[Look], None]
    shown: int = 0

    @property
    def steps(self) -> int:
        """Network evaluations of one whole picture: of some schedulers more than the steps asked for."""
        return len(self.sampler.schedule().timesteps)

    def pictures(self, cost: int | None = None, budget: int | None = None, least: int = 1) -> int:
        """Return how many pictures of `cost` evaluations (a whole one's by default) a budget pays, at most `MAX_BATCH`.

        Raises InputError where that is fewer than `least`.
        """
        each = self.steps if cost is None else cost
        count = (self.sampler.meter.left if budget is None else budget) // each
        if count < least:
            advice = f"{self.settings.method} needs at least {least} of {each} evaluations each. Raise it to "
            raise InputError("budget", self.settings.budget, f"{advice}{least * each} or more, or take fewer steps.")
        return min(count, MAX_BATCH)

    def seeds(self, count: int, first: int = 0) -> list[Recipe]:
        """Return recipes of unrelated pictures, from the seed on: the same seeds as Sample's."""
        begin = self.settings.seed + first
        return [Recipe(((0, seed),)) for seed in range(begin, begin + count)]

    def columns(self, images: torch.Tensor) -> Columns:
        """Score pictures, counted. Raises NonFiniteError."""
        sampler = self.sampler
        sampler.progress.check_cancelled()
        with sampler.place(self.reward.modules.values()):
            columns = self.reward.silent.columns(images, sampler.prompt, progress=Cancellable(sampler.progress))
        sampler.meter.scored(len(images))
        return columns

    def predicted(self, particles: Particles) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores (N,) of particles' predicted x0, float64, and the pictures they are of."""
        images = self.sampler.decoded(particles.x0)
        return self.columns(images)[self.reward.name].double(), images

    def finished(self, particles: Particles, parents: Sequence[int] = ()) -> Finished:
        """Decode and score what has run to the end; `parents` are the numbers of the pictures they came from."""
        images = self.sampler.decoded(particles.x)
        columns = self.columns(images)
        self.look(self.steps, columns[self.reward.name], images, parents)
        return Finished(particles.x, images, columns, particles.recipes)

    def look(
        self,
        step: int,
        scores: torch.Tensor,
        images: torch.Tensor,
        parents: Sequence[int] = (),
        alive: Sequence[bool] = (),
    ) -> int:
        """Show pictures to who looks on; return the number of the first. Without `parents` all are begun anew."""
        count, first = len(images), self.shown
        self.shown += count
        parents, alive = parents or [-1] * count, alive or [True] * count
        self.on_look(Look(step, self.steps, scores, images, first, parents, alive))
        return first

    def needs_steps(self, *, noise: bool = False) -> None:
        """Raise InputError where the scheduler keeps a history, or draws no noise where that is needed."""
        name, scheduler = self.settings.method, self.sampler.settings.scheduler
        if scheduler not in STEPWISE:
            advice = f"{name} stops between the steps of this scheduler, which keeps a history. Pick one of "
            raise InputError("scheduler", scheduler, f"{advice}{', '.join(STEPWISE)}.")
        if noise and not any(self.sampler.noisy_steps()[1:]):
            advice = f"{name} needs fresh noise in the steps, or copies would stay copies. Set eta to 1"
            raise InputError("eta", self.sampler.settings.eta, f"{advice}, or pick ddpm or euler_ancestral.")


STEPWISE = ("ddim", "ddpm", "euler_ancestral")

"""One prompt's pictures while they are made: any number of them, through any part of the steps, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch

from ..core.errors import NonFiniteError
from ..core.memory import fitting, in_parts, is_out_of_memory
from ..core.progress import Place, Progress
from ..loaders.lora.apply import applied_loras, merged_bytes
from ..loaders.model import DiffusionModel
from ..sampling.decode import decode, picture_bytes
from ..sampling.guidance import Network, is_guided, most_at_once, unet_bytes
from ..sampling.loop import Stage, denoise, schedule_of
from ..sampling.preview import preview_picture
from ..sampling.prompts import encode_with_negative, shared_cache
from ..sampling.schedules import EulerAncestral, GaussianSchedule, Schedule, VariancePreserving
from ..sampling.settings import SampleOptions, SampleSettings
from ..sampling.steps import ImageNoise
from .guide import draft_guide, guided_output
from .meter import Meter
from .neighbours import neighbour
from .recipe import Recipe

# (step, what the network saw, its output) -> the output to go on with
Change = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


class Particles(NamedTuple):
    """N pictures between two steps.

    Attributes:
        x: float32 (N, C, h, w) on the CPU.
        x0: their predicted x0, as `x`; before the first step `x` itself.
        recipes: how each came here.
        states: where each slot's noise stream stands.
        step: the steps behind them.
    """

    x: torch.Tensor
    x0: torch.Tensor
    recipes: tuple[Recipe, ...]
    states: tuple[torch.Tensor, ...]
    step: int = 0

    def copies(self, ancestors: Sequence[int]) -> Particles:
        """Put a copy of its ancestor into every slot; the slot's own noise goes on, so copies part."""
        recipes = tuple(
            old if i == a else replace(self.recipes[a], path=_spliced(self.recipes[a], (self.step, old.path[-1][1])))
            for (i, old), a in zip(enumerate(self.recipes), ancestors, strict=True)
        )
        index = list(ancestors)
        return self._replace(x=self.x[index], x0=self.x0[index], recipes=recipes)

    def rows(self, index: Sequence[int]) -> Particles:
        """Return some of them, in that order, with their noise."""
        rows = list(index)
        recipes, states = tuple(self.recipes[i] for i in rows), tuple(self.states[i] for i in rows)
        return self._replace(x=self.x[rows], x0=self.x0[rows], recipes=recipes, states=states)


def _spliced(ancestor: Recipe, join: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return an ancestor's path that goes on with another seed's noise."""
    kept = tuple(part for part in ancestor.path if part[0] < join[0])
    return (*kept, join)


@dataclass(eq=False)
class Sampler:
    """Makes one prompt's pictures with a model; each depends on its recipe alone.

    On the CPU they are denoised one at a time unless `options.at_once` says otherwise: kernels round differently in
    batches of other sizes, and a batch gains little there. `options.at_once` changes bits, not pictures.
    """

    model: DiffusionModel
    prompt: str
    negative_prompt: str
    settings: SampleSettings
    options: SampleOptions
    size: tuple[int, int]
    meter: Meter
    progress: Progress
    place: Place

    @property
    def stage(self) -> Stage:
        """The model as one stage, the whole schedule."""
        return Stage(self.model, self.options.timestep_spacing)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latents."""
        height, width = self.size
        return self.model.channels, height // self.model.downscale, width // self.model.downscale

    def schedule(self) -> Schedule:
        """Make a fresh schedule of the whole run."""
        return schedule_of(self.stage, self.settings)

    def noisy_steps(self) -> list[bool]:
        """Return of each step whether it draws fresh noise; schedules that keep a history are said to draw none."""
        schedule, one = self.schedule(), torch.zeros(1, 1, 1, 1)
        if not isinstance(schedule, GaussianSchedule):
            return [False] * len(schedule.timesteps)
        return [schedule.distribution(t, one, one).std > 0 for t in range(len(schedule.timesteps))]

    def begin(self, recipes: Sequence[Recipe]) -> Particles:
        """Return the noise that recipes begin with."""
        noise = ImageNoise([recipe.seed for recipe in recipes], self.shape)
        unit = noise.draw(torch.device("cpu"))
        for i, recipe in enumerate(recipes):
            for angle, seed in recipe.moves:
                unit[i] = neighbour(unit[i], ImageNoise([seed], self.shape).draw(unit.device)[0], angle)
        x = self.schedule().begin(unit)
        return Particles(x, x, tuple(recipes), tuple(noise.states()))

    @torch.no_grad()
    def run(self, particles: Particles, until: int | None = None, change: Change | None = None) -> Particles:
        """Run particles up to a step, or to the end. Raises NonFiniteError, OutOfMemoryError."""
        model, scale, count = self.model, self.settings.guidance_scale, len(particles.x)
        steps = len(self.schedule().timesteps)
        part = range(particles.step, steps if until is None else until)
        if not part:
            return particles
        negative_prompt = self.negative_prompt if is_guided(model, scale) else None
        encoded, negative = encode_with_negative(shared_cache(), model, [self.prompt], negative_prompt, self.place)
        states: list[torch.Tensor] = []

        def work(rows: slice) -> torch.Tensor:
            x = particles.x[rows].to(model.device)
            seeds = [recipe.path[-1][1] for recipe in particles.recipes[rows]]
            noise = ImageNoise(seeds, self.shape, particles.states[rows])
            network = Network(
                model, encoded * len(x), negative, guidance_scale=scale, size=self.size, options=self.options
            )
            with network:
                both = self._steps(network, x, noise, part, change)
            states.extend(noise.states())
            return both.cpu()

        each = unet_bytes(model, *self.size, 1 if negative is None else 2)
        alone = model.device.type == "cpu"
        at_once = self.options.at_once or (1 if alone else count)
        most = most_at_once(model, *self.size, 1 if negative is None else 2)
        with self.place([model.unet], at_once * each + merged_bytes(model, ("unet",))), applied_loras(model, ("unet",)):
            room = at_once if self.options.at_once or alone else fitting(each, count, model.device, most)
            one = f"one picture of {self.size[1]} x {self.size[0]}"
            done = torch.cat(list(in_parts(count, room, work, what="searching", each=one)))
        return particles._replace(x=done[:, 0], x0=done[:, 1], states=tuple(states), step=part.stop)

    def _steps(
        self, network: Network, x: torch.Tensor, noise: ImageNoise, part: range, change: Change | None
    ) -> torch.Tensor:
        """Return the samples after some steps and their predicted x0, together (N, 2, C, h, w)."""
        schedule, done, clean = self.schedule(), 0, x
        count = len(schedule.timesteps)

        def changed(x: torch.Tensor, t: torch.Tensor, share: float) -> torch.Tensor:
            output = network(x, t, share)
            return output if change is None else change(round(share * count), x, output)

        def on_step(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
            nonlocal done, clean
            done, clean = done + len(x), x0
            self.meter.evaluated(len(x))
            self.progress.advance(len(x))
            self.progress.preview(partial(preview_picture, self.model, x0))
            return x

        try:
            x = denoise(changed, schedule, x, noise, on_step, part)
        except Exception as error:
            if is_out_of_memory(error):
                self.meter.evaluated(-done)
                self.progress.advance(-done)
            raise
        if not torch.isfinite(x).all():
            raise NonFiniteError(
                f"The UNet of {self.model.name} produced NaN or infinity in {self.model.dtype}. Load the model in "
                "float32, or lower guidance_scale or guide_scale."
            )
        return torch.stack([x, clean], 1)

    def decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents, counted: (N, C, h, w) to (N, H, W, 3) in [0, 1]."""
        tiled = self.options.vae_tiling == "on"
        self.progress.check_cancelled()
        vae = [] if self.model.vae is None else [self.model.vae]
        each = 1 if self.model.device.type == "cpu" else len(latents)  # bits as those of one alone
        with self.place(vae, picture_bytes(self.model, *self.size, tiled=tiled)):
            pictures = torch.cat([decode(self.model, part, tiled=tiled) for part in latents.split(each)])
        self.meter.decoded(len(latents))
        return pictures

    def guide(self, drafts: torch.Tensor, scores: torch.Tensor, strength: float, scale: float) -> Change:
        """Return what lets drafts (K, C, h, w) with rewards (K,) pull at every step's output."""
        levels = signal_levels(self.schedule())

        def change(step: int, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            level, prediction = levels[step]
            a, s = level**0.5, (1 - level) ** 0.5
            pull = draft_guide(x.cpu(), drafts, scores, a, s, strength).to(x.device)
            return guided_output(output, pull, a, s, scale, prediction)

        return change


def signal_levels(schedule: Schedule) -> list[tuple[float, str]]:
    """Return each step's alphas_cumprod of what the network sees, and what it predicts. The steps are Gaussian."""
    if isinstance(schedule, EulerAncestral):
        return [(float(1 / (c.sigma_t**2 + 1)), c.prediction_type) for c in schedule.sigmas]
    assert isinstance(schedule, VariancePreserving)
    return [(float(c.a_t), c.prediction_type) for c in schedule.coefficients]

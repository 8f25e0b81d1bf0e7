"""What every method of search does with one prompt: denoise a part of the way, decode, score; all of it counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch

from ..core.errors import InputError, NonFiniteError
from ..core.memory import fitting, in_parts
from ..core.progress import Cancellable, Place, Progress
from ..loaders.lora.apply import applied_loras, merged_bytes
from ..loaders.model import DiffusionModel
from ..rewards.reward import Reward
from ..sampling.decode import decode, picture_bytes
from ..sampling.guidance import Network, is_guided, most_at_once, unet_bytes
from ..sampling.loop import denoise, schedule_of, stages_of
from ..sampling.preview import preview_picture
from ..sampling.prompts import Encoded
from ..sampling.schedules import GaussianSchedule, Schedule, VariancePreserving
from ..sampling.settings import SampleOptions, SampleSettings
from ..sampling.steps import ImageNoise
from .meter import Meter
from .noises import Recipe

# (index of the step, x (B, C, h, w), the network's output, schedule) -> the output to go on with
Lead = Callable[[int, torch.Tensor, torch.Tensor, VariancePreserving], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Particles:
    """Pictures on their way.

    Attributes:
        x: (P, C, h, w) float32 on the CPU, after `done` steps.
        x0: the clean samples predicted in the last of them; None before the first.
        seeds: whose noise each draws from here on.
        states: where those streams stand.
        done: steps made.
        made: of each, what it was made from, see `Way`.
    """

    x: torch.Tensor
    x0: torch.Tensor | None
    seeds: tuple[int, ...]
    states: tuple[torch.Tensor, ...]
    done: int
    made: tuple[Way, ...]

    def __len__(self) -> int:
        return len(self.x)

    def drawn(self, ancestors: torch.Tensor) -> Particles:
        """Return as many particles, each a copy of its ancestor that goes on with the noise of its own place."""
        rows = ancestors.tolist()
        return replace(
            self,
            x=self.x[ancestors],
            x0=None if self.x0 is None else self.x0[ancestors],
            made=tuple(self.made[old].going_on(self.done, self.seeds[new]) for new, old in enumerate(rows)),
        )

    def kept(self, rows: Sequence[int]) -> Particles:
        """Return some particles alone, noise streams included."""
        index = list(rows)
        return Particles(
            self.x[index],
            None if self.x0 is None else self.x0[index],
            tuple(self.seeds[i] for i in index),
            tuple(self.states[i] for i in index),
            self.done,
            tuple(self.made[i] for i in index),
        )


class Way(NamedTuple):
    """What a picture can be made from again: its first noise, and whose noise it drew from which step on."""

    first: Recipe
    noise: tuple[tuple[int, int], ...]  # (step, seed)

    def going_on(self, step: int, seed: int) -> Way:
        """Return the way of a particle that draws from another seed's noise from a step on."""
        return self if self.noise[-1][1] == seed else self._replace(noise=(*self.noise, (step, seed)))


@dataclass(frozen=True, eq=False)
class Engine:
    """One prompt's model, reward and meter.

    Attributes:
        prompt: of all its pictures.
        encoded, negative: as the network takes them.
        sampling: with the scheduler by name, not "model default".
        size: (height, width) in pixels.
    """

    model: DiffusionModel
    reward: Reward
    prompt: str
    encoded: Encoded
    negative: Encoded | None
    sampling: SampleSettings
    options: SampleOptions
    size: tuple[int, int]
    place: Place
    progress: Progress
    meter: Meter

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one latent, (C, h, w)."""
        return self.model.channels, *(side // self.model.downscale for side in self.size)

    def schedule(self, steps: int | None = None) -> Schedule:
        """Make a fresh schedule, of the sampling settings' steps or of others. Raises InputError."""
        stage = stages_of(self.model, None, self.options)[0]
        return schedule_of(stage, self.sampling if steps is None else replace(self.sampling, steps=steps))

    def begin(self, recipes: Sequence[Recipe], schedule: Schedule) -> Particles:
        """Return particles at the first timestep; those of unchanged recipes are what `sample` begins with."""
        noise = ImageNoise([recipe.seed for recipe in recipes], self.shape)
        first = noise.draw(torch.device("cpu"))
        for i, recipe in enumerate(recipes):
            if recipe.changes:
                first[i] = recipe.noise(self.shape)[0]
        ways = tuple(Way(recipe, ((0, recipe.seed),)) for recipe in recipes)
        return Particles(schedule.begin(first), None, noise.seeds, tuple(noise.states()), 0, ways)

    @torch.no_grad()
    def advance(
        self, particles: Particles, stop: int, *, steps: int | None = None, lead: Lead | None = None
    ) -> Particles:
        """Make steps up to `stop`, in as many parts as memory asks for.

        Args:
            steps: of the whole schedule; None: the sampling settings'.
            lead: changes what the network says, where the schedule is `VariancePreserving`.

        Raises NonFiniteError where the network overflows, OutOfMemoryError where not even one picture fits.
        """
        model, options, count = self.model, self.options, len(particles)
        after: list[torch.Tensor] = []
        cleans: list[torch.Tensor] = []

        def work(rows: slice) -> torch.Tensor:
            schedule = self.schedule(steps)
            noise = ImageNoise(particles.seeds[rows], self.shape, particles.states[rows])
            clean: list[torch.Tensor] = []

            def on_step(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
                clean[:] = [x0]
                self.meter.spend(evaluations=len(x))
                self.progress.advance(len(x))
                self.progress.preview(partial(preview_picture, model, x0))
                return x

            encoded = [self.encoded] * len(noise.seeds)
            with Network(
                model, encoded, self.negative, guidance_scale=self.sampling.guidance_scale, size=self.size,
                options=options,
            ) as network:  # fmt: skip
                asked = network if lead is None else _led(network, schedule, lead)
                part = denoise(
                    asked, schedule, particles.x[rows].to(model.device), noise, on_step, range(particles.done, stop)
                )
            after.extend(noise.states())
            cleans.append(clean[0].cpu())
            return part.cpu()

        rows_each = 2 if is_guided(model, self.sampling.guidance_scale) else 1
        each = unet_bytes(model, *self.size, rows_each)
        working = min(options.at_once or count, count) * each + merged_bytes(model, ("unet",))
        with self.place([model.unet], working), applied_loras(model, ("unet",)):
            at_once = options.at_once or fitting(each, count, model.device, most_at_once(model, *self.size, rows_each))
            one = f"one picture of {self.size[1]} x {self.size[0]}"
            x = torch.cat(list(in_parts(count, at_once, work, what="searching", each=one)))
        if not torch.isfinite(x).all():
            raise NonFiniteError(
                f"The UNet of {model.name} produced NaN or infinity in {model.dtype}. Load the model in float32, "
                "or lower guidance_scale."
            )
        return replace(particles, x=x, x0=torch.cat(cleans), states=tuple(after), done=stop)

    def pictures(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents (B, C, h, w) to pictures (B, H, W, 3) in [0, 1]."""
        tiled = self.options.vae_tiling == "on"
        vae = [self.model.vae] if self.model.vae else []
        with self.place(vae, picture_bytes(self.model, *self.size, tiled=tiled)):
            self.progress.check_cancelled()
            found = decode(self.model, latents, tiled=tiled)
        self.meter.spend(decodes=len(latents))
        return found

    def scores(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Score pictures: every column of the reward, its own first, float32 (B,). Raises as the reward does."""
        with self.place(self.reward.modules.values()):
            texts = [self.prompt] * len(pictures)
            columns = self.reward.columns(pictures, texts, progress=Cancellable(self.progress))
        self.meter.spend(scorings=len(pictures))
        return {name: column.float().cpu() for name, column in columns.items()}

    def look(self, particles: Particles) -> torch.Tensor:
        """Score the predicted pictures of particles on their way: (P,) float32."""
        assert particles.x0 is not None
        return next(iter(self.scores(self.pictures(particles.x0)).values()))


def _led(
    network: Network, schedule: Schedule, lead: Lead
) -> Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]:
    assert isinstance(schedule, VariancePreserving)
    count = len(schedule.timesteps)

    def asked(x: torch.Tensor, t: torch.Tensor, done: float) -> torch.Tensor:
        return lead(round(done * count), x, network(x, t, done), schedule)

    return asked


def check_draws_noise(engine: Engine, method: str) -> GaussianSchedule:
    """Return the schedule where some step draws noise. Raises InputError where copies of a particle never part."""
    schedule = engine.schedule()
    eta = engine.sampling.eta
    if not isinstance(schedule, GaussianSchedule) or (engine.sampling.scheduler == "ddim" and eta == 0):
        found = f"{engine.sampling.scheduler}" + (" with eta 0" if engine.sampling.scheduler == "ddim" else "")
        raise InputError(
            "scheduler", found, f"{method} makes copies, which only fresh noise in each step tells apart. Pick ddim "
            "with eta 1, ddpm or euler_ancestral.",
        )  # fmt: skip
    return schedule


def check_steps_alone(engine: Engine, method: str) -> GaussianSchedule:
    """Return the schedule where each step looks at one sample only. Raises InputError where it keeps a history."""
    schedule = engine.schedule()
    if not isinstance(schedule, GaussianSchedule):
        advice = f"{method} stops on the way, where its memory of earlier steps would be lost. Pick ddim."
        raise InputError("scheduler", engine.sampling.scheduler, advice)
    return schedule

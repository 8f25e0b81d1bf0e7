"""The sampling loop: prompts and seeds to pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from ..core.errors import InputError, NonFiniteError
from ..core.memory import fitting, in_parts
from ..loaders.lora.apply import applied_loras, merged_bytes
from ..loaders.model import DiffusionModel
from .decode import decode, encode_images, picture_bytes
from .guidance import Network, is_guided
from .inputs import check_refiner, check_seeds, latent_mask, picture_size, prompts_each, starting_latents
from .memory import check_room, unet_bytes
from .noise import ImageNoise
from .prompts import PromptCache, encode_with_negative, shared_cache
from .scheduler_config import default_scheduler
from .schedules import Schedule, make_schedule
from .settings import OWN_SPACING, SampleOptions, SampleSettings


@dataclass(frozen=True)
class Samples:
    """A batch that was sampled; every field has B entries, in the order of the seeds.

    Attributes:
        images: float32 (B, H, W, 3) in [0, 1], on the CPU.
        latents: float32 (B, C, h, w), scaled as the UNet sees them, on the CPU.
        seeds: the seed of each image.
        prompts: the prompt of each image; empty texts for unconditional models.
    """

    images: torch.Tensor
    latents: torch.Tensor
    seeds: tuple[int, ...]
    prompts: tuple[str, ...]


class StepInfo(NamedTuple):
    """What `on_step` is told after each step.

    Attributes:
        done: network evaluations made so far, an image each; total: how many there will be.
        first: index in the whole batch of the first image shown.
        x0: (B, C, h, w) the clean samples foreseen for the images at work, where the network runs.
    """

    done: int
    total: int
    first: int
    x0: torch.Tensor


OnStep = Callable[[StepInfo], None]
# (model, names of its modules, working memory in bytes): puts them where they compute, for a `with` block
Place = Callable[[DiffusionModel, Sequence[str], int], AbstractContextManager[None]]


def sample(
    model: DiffusionModel,
    prompts: str | Sequence[str] = "",
    *,
    negative_prompt: str = "",
    scheduler: str = "ddim",
    steps: int = 25,
    guidance_scale: float = 4.0,
    eta: float = 0.0,
    seeds: Sequence[int] = (0,),
    height: int = 0,
    width: int = 0,
    images: torch.Tensor | None = None,
    latents: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    denoise: float = 1.0,
    refiner: DiffusionModel | None = None,
    options: SampleOptions | None = None,
    on_step: OnStep | None = None,
    place: Place | None = None,
) -> Samples:
    """Sample one image for each seed.

    Args:
        model: from `load_diffusion_model`; it is not changed.
        prompts: one text for all images or one for each; must be empty for unconditional models.
            `(word:1.2)` weighs a word; a prompt may have any length.
        negative_prompt: what to steer away from.
        scheduler: one of `SCHEDULERS`; `"model default"` is the model's own.
        steps: 1 to the number of training timesteps.
        guidance_scale: 1 is off; unused by unconditional models.
        eta: 0 to 1, fresh noise in each DDIM step.
        seeds: image i is made from `seeds[i]` alone.
        height, width: pixels; 0 is the model's own, or that of `images` or `latents`.
        images: (1 or B, H, W, 3) in [0, 1] to start from, with `denoise` below 1.
        latents: (1 or B, C, h, w) to start from instead, scaled as the UNet sees them.
        mask: (H, W) or (1 or B, H, W) from 0 to 1, of any size: 1 where the start is made anew, 0 where it is kept.
        denoise: how much of the start is made anew: the last `steps` of int(steps / denoise) are run.
        refiner: a `"sdxl-refiner"` (or another SDXL model) that takes over at `options.refiner_start`.
        options: what is rarely changed.
        on_step: called after each step; what it raises stops the sampling.
        place: makes modules ready to compute; a host's memory management. None leaves them where they are.

    Raises:
        InputError: an argument that cannot be used, by name.
        NonFiniteError: a network produced NaN or infinity.
        OutOfMemoryError: not even one image fits.
    """
    settings = SampleSettings(scheduler, steps, guidance_scale, eta, height, width, denoise)
    seeds = check_seeds(seeds)
    texts = prompts_each(model, prompts, negative_prompt, len(seeds))
    check_refiner(model, refiner)
    run = _Run(
        model=model,
        refiner=refiner,
        settings=settings,
        options=options or SampleOptions(),
        seeds=seeds,
        size=picture_size(model, settings, images, latents),
        place=place or _stay,
        on_step=on_step,
    )
    if mask is not None and run.scheduler == "dpmpp_sde":
        raise InputError(
            "scheduler", "dpmpp_sde", "It looks between its steps, where a mask cannot be kept. Pick dpmpp_2m."
        )
    schedules = run.schedules()  # every setting is checked before anything runs
    check_room(len(seeds), run.size)
    tiled = run.options.vae_tiling == "on"
    vae, working = ("vae",) if model.vae else (), picture_bytes(model, *run.size, tiled=tiled)
    run.mask = latent_mask(model, mask, run.size, len(seeds), start=images is not None or latents is not None)
    with run.place(model, vae if images is not None else (), working):
        run.start = starting_latents(model, images, latents, len(seeds), partial(encode_images, tiled=tiled))
    x = run.stage(0, schedules[0], texts, negative_prompt, run.start)
    if refiner is not None:
        x = run.stage(1, schedules[1], texts, negative_prompt, x)
    with run.place(model, vae, working):
        pictures = decode(model, x, tiled=tiled)
    return Samples(pictures, x, tuple(seeds), tuple(texts))


def _stay(model: DiffusionModel, names: Sequence[str], working_bytes: int) -> AbstractContextManager[None]:
    return nullcontext()


class _Run:
    """One call of `sample`: what all its stages and parts share."""

    def __init__(
        self,
        *,
        model: DiffusionModel,
        refiner: DiffusionModel | None,
        settings: SampleSettings,
        options: SampleOptions,
        seeds: list[int],
        size: tuple[int, int],
        place: Place,
        on_step: OnStep | None,
    ) -> None:
        self.models = [model] if refiner is None else [model, refiner]
        self.settings, self.options, self.seeds, self.size = settings, options, seeds, size
        self.place, self._on_step, self._done = place, on_step, 0
        own = settings.scheduler == "model default"
        self.scheduler = default_scheduler(model.scheduler_config) if own else settings.scheduler
        self._noise_states: list[torch.Tensor] | None = None
        self.start: torch.Tensor | None = None
        self.mask: torch.Tensor | None = None
        height, width = size
        self._shape = (model.channels, height // model.downscale, width // model.downscale)
        self._cache: PromptCache = shared_cache()

    def schedule(self, stage: int) -> Schedule:
        """A fresh schedule of one stage; some keep a history, so each part of a batch has its own."""
        steps, eta, denoise = self.settings.steps, self.settings.eta, self.settings.denoise
        config, edge = self.models[stage].scheduler_config, self.options.refiner_start
        if self.options.timestep_spacing != OWN_SPACING:
            config = {**config, "timestep_spacing": self.options.timestep_spacing}
        try:
            if stage > 0:  # the rest of the schedule that the base was given, from image to image too
                return make_schedule(config, self.scheduler, int(steps / denoise), eta, start=edge)
            stop = edge if len(self.models) > 1 else 1.0
            return make_schedule(config, self.scheduler, steps, eta, denoise=denoise, stop=stop)
        except InputError as e:
            if e.name != "start":
                raise
            raise InputError("refiner_start", edge, self._no_step(stage)) from e

    def _no_step(self, stage: int) -> str:
        """What to do where a stage has no step to run."""
        steps, denoise, edge = self.settings.steps, self.settings.denoise, self.options.refiner_start
        if stage == 0 and 1 - denoise >= edge:
            return (
                f"At denoise {denoise:g} the run begins after the refiner has taken over, so nothing is left for the "
                f"model. Set denoise above {1 - edge:.2g}, or refiner_start above {1 - denoise:.2g}."
            )
        who, way = ("model", "Raise") if stage == 0 else ("refiner", "Lower")
        return f"Of {steps} steps none is the {who}'s. {way} refiner_start, or take more steps."

    def schedules(self) -> list[Schedule]:
        """The schedule of each stage; counts what there is to do."""
        made = [self.schedule(stage) for stage in range(len(self.models))]
        self._total = len(self.seeds) * sum(len(schedule.timesteps) for schedule in made)
        return made

    def stage(
        self, stage: int, schedule: Schedule, texts: list[str], negative_prompt: str, start: torch.Tensor | None
    ) -> torch.Tensor:
        """All images through one model: (B, C, h, w) float32 on the CPU."""
        model = self.models[stage]
        guided = is_guided(model, self.settings.guidance_scale)
        encoded, negative = encode_with_negative(
            self._cache, model, texts, negative_prompt if guided else None, self.place
        )
        rows = 2 if guided else 1
        each = unet_bytes(model, *self.size, rows)
        states: list[torch.Tensor] = []

        def work(part: slice) -> torch.Tensor:
            network = Network(
                model,
                encoded[part],
                negative,
                guidance_scale=self.settings.guidance_scale,
                size=self.size,
                options=self.options,
            )
            noise = ImageNoise(self.seeds[part], self._shape, self._noise_states and self._noise_states[part])
            before = self._done
            try:
                with network:
                    x = self._denoise(model, self.schedule(stage), network, noise, stage, start, part)
            except BaseException:
                self._done = before
                raise
            states.extend(noise.states())
            return x.cpu()

        at_once = min(self.options.at_once or len(self.seeds), len(self.seeds))
        working = at_once * each + merged_bytes(model, ("unet",))
        with self.place(model, ("unet",), working), applied_loras(model, ("unet",)):
            size = self.options.at_once or fitting(each, len(self.seeds), model.device)
            one = f"one picture of {self.size[1]} x {self.size[0]}"
            x = torch.cat(list(in_parts(len(self.seeds), size, work, what="sampling", each=one)))
        self._noise_states = states
        return x

    def _keeping(
        self, schedule: Schedule, noise: ImageNoise, part: slice, device: torch.device, *, last: bool
    ) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """Puts what the mask keeps back into the sample at `timesteps[index]`, as diffusers' inpainting does.

        It is the start with the noise the run began with, or clean past the end of the last stage.
        """
        if self.mask is None:
            return lambda x, index: x
        mask, clean = self.mask[part].to(device), self.start[part].to(device)
        first = ImageNoise(noise.seeds, noise.shape).draw(device)

        def keep(x: torch.Tensor, index: int) -> torch.Tensor:
            if index < len(schedule.timesteps):
                return torch.lerp(schedule.noised(clean, first, index), x, mask)
            return torch.lerp(clean, x, mask) if last else x  # the next stage does it at its own level

        return keep

    @torch.no_grad()
    def _denoise(
        self,
        model: DiffusionModel,
        schedule: Schedule,
        network: Network,
        noise: ImageNoise,
        stage: int,
        start: torch.Tensor | None,
        part: slice,
    ) -> torch.Tensor:
        """One part of the batch through one schedule. The schedule's arithmetic is float32."""
        device = model.device
        keep = self._keeping(schedule, noise, part, device, last=stage == len(self.models) - 1)
        if stage > 0:
            x = keep(start[part].to(device), 0)  # what the base left, noise included
        elif start is None:
            x = schedule.begin(noise.draw(device))
        else:
            x = schedule.noised(start[part].to(device), noise.draw(device))
        times = torch.tensor(schedule.timesteps, device=device)
        for index in range(len(times)):
            output = network(schedule.network_input(index, x), times[index], index / len(times))
            x, x0 = schedule.step(index, x, output, noise)
            x = keep(x, index + 1)
            self._done += len(x)
            if self._on_step is not None:
                self._on_step(StepInfo(self._done, self._total, part.start, x0))
        if not torch.isfinite(x).all():
            raise NonFiniteError(
                f"The UNet of {model.name} produced NaN or infinity in {model.dtype}. Load the model in float32, "
                "or lower guidance_scale."
            )
        return x

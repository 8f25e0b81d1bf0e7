"""The sampling loop: prompts and seeds to pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ..core.errors import InputError, NonFiniteError
from ..core.memory import fitting, in_parts, is_out_of_memory
from ..core.progress import Place, Progress, stay
from ..loaders.lora.apply import applied_loras, merged_bytes
from ..loaders.model import DiffusionModel
from .decode import decode, encode_images, picture_bytes
from .guidance import Network, is_guided, most_at_once, unet_bytes
from .inputs import (
    check_refiner,
    check_room,
    check_seeds,
    latent_mask,
    picture_size,
    prompts_each,
    starting_latents,
)
from .preview import preview_picture
from .prompts import encode_with_negative, shared_cache
from .scheduler_config import default_scheduler
from .schedulers import MODEL_DEFAULT, SCHEDULERS
from .schedules import Schedule, make_schedule
from .settings import OWN_SPACING, SampleOptions, SampleSettings
from .steps import ImageNoise

FAST_STEPS = 12  # below so many `fast` is `compile`: two thirds of a turbo model's steps are most of its picture

# (index, sample after step `index`, predicted clean sample x0 of that step) -> the sample to go on from
OnStep = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def denoise(
    network: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
    schedule: Schedule,
    x: torch.Tensor,
    noise: ImageNoise,
    on_step: OnStep | None = None,
    part: range | None = None,
) -> torch.Tensor:
    """Run the sampling loop: x (B, C, h, w) at the first timestep to x after the last, float32 throughout.

    `on_step` sees the sample after each step and may return another to go on from: what a mask keeps, particles drawn
    anew, or fewer rows, where `network` and `noise` follow (schedules that keep a history cannot). What it raises
    stops the loop. `part` is the steps to run, all of them without it: between two parts, too, rows may be copied or
    left out.
    """
    times = torch.tensor(schedule.timesteps, device=x.device)
    for index in range(len(times)) if part is None else part:
        output = network(schedule.network_input(index, x), times[index], index / len(times))
        x, x0 = schedule.step(index, x, output, noise)
        if on_step is not None:
            x = on_step(index, x, x0)
    return x


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


def sample(
    model: DiffusionModel,
    prompts: str | Sequence[str] = "",
    settings: SampleSettings | None = None,
    *,
    negative_prompt: str = "",
    seeds: Sequence[int] = (0,),
    images: torch.Tensor | None = None,
    latents: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    refiner: DiffusionModel | None = None,
    options: SampleOptions | None = None,
    progress: Progress | None = None,
    place: Place = stay,
    **fields: Any,
) -> Samples:
    """Sample one image for each seed.

    Args:
        model: from `load_diffusion_model`; it is not changed.
        prompts: one text for all images or one for each; must be empty for unconditional models.
            `(word:1.2)` weighs a word; a prompt may have any length.
        settings: scheduler, steps, guidance_scale, eta, height, width, denoise.
        negative_prompt: what to steer away from.
        seeds: image i is made from `seeds[i]` alone.
        images: (1 or B, H, W, 3) in [0, 1] to start from, with `denoise` below 1.
        latents: (1 or B, C, h, w) to start from instead, scaled as the UNet sees them.
        mask: (H, W) or (1 or B, H, W) from 0 to 1, of any size: 1 where the start is made anew, 0 where it is kept.
        refiner: a `"sdxl-refiner"` (or another SDXL model) that takes over at `options.refiner_start`.
        options: settings that are rarely changed.
        progress: counts network evaluations, an image each, and is offered previews; what it raises stops the run.
        place: makes modules ready to compute; a host's memory management. By default they stay where they are.
        fields: fields of `settings` by name, over what it says: `steps=10, scheduler="euler"`.

    Raises:
        InputError: an argument that cannot be used, by name.
        NonFiniteError: a network produced NaN or infinity.
        OutOfMemoryError: not even one image fits.
    """
    settings = replace(settings or SampleSettings(), **fields)
    options, progress, seeds = options or SampleOptions(), progress or Progress(), check_seeds(seeds)
    texts = prompts_each(model, prompts, negative_prompt, len(seeds))
    check_refiner(model, refiner)
    size = picture_size(model, settings, images, latents)
    settings = with_own_scheduler(model, settings)
    if mask is not None and not SCHEDULERS[settings.scheduler].inpaints:
        advice = "It looks between its steps, where a mask cannot be kept. Pick dpmpp_2m."
        raise InputError("scheduler", settings.scheduler, advice)
    stages = stages_of(model, refiner, options)
    evaluations = sum(len(schedule_of(stage, settings).timesteps) for stage in stages)  # this checks every setting
    check_room(len(seeds), size)
    tiled = options.vae_tiling == "on"
    vae, working = [model.vae] if model.vae else [], picture_bytes(model, *size, tiled=tiled)
    kept = latent_mask(model, mask, size, len(seeds), start=images is not None or latents is not None)
    with place(vae if images is not None else [], working):
        start = starting_latents(model, images, latents, len(seeds), partial(encode_images, tiled=tiled))
    run = _Run(settings, options, texts, negative_prompt, seeds, size, start, kept, progress, place)
    progress.phase("sampling", len(seeds) * evaluations)
    x, streams = start, None
    for stage in stages:
        x, streams = _run_stage(run, stage, x, streams)
    with place(vae, working):
        pictures = decode(model, x, tiled=tiled)
    return Samples(pictures, x, tuple(seeds), tuple(texts))


def with_own_scheduler(model: DiffusionModel, settings: SampleSettings) -> SampleSettings:
    """Return the settings with the model's own scheduler in place of "model default". Raises InputError."""
    if settings.scheduler != MODEL_DEFAULT:
        return settings
    return replace(settings, scheduler=default_scheduler(model.scheduler_config))


@dataclass(frozen=True, eq=False)
class Stage:
    """One model's part of a run: from `start` to `stop`, 0 to 1 of the schedule's noise."""

    model: DiffusionModel
    spacing: str = OWN_SPACING
    start: float = 0.0
    stop: float = 1.0

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The model's scheduler config, with the timestep spacing that was asked for."""
        config = self.model.scheduler_config
        return config if self.spacing == OWN_SPACING else {**config, "timestep_spacing": self.spacing}

    @property
    def takes_over(self) -> bool:
        """Whether it goes on from what another stage left, noise included."""
        return self.start > 0

    @property
    def last(self) -> bool:
        """Whether what it leaves is clean."""
        return self.stop == 1


def stages_of(model: DiffusionModel, refiner: DiffusionModel | None, options: SampleOptions) -> list[Stage]:
    """Return the stages of a run: the model alone, or the model and a refiner that takes over from it."""
    spacing, edge = options.timestep_spacing, options.refiner_start
    if refiner is None:
        return [Stage(model, spacing)]
    return [Stage(model, spacing, stop=edge), Stage(refiner, spacing, start=edge)]


def schedule_of(stage: Stage, settings: SampleSettings) -> Schedule:
    """Make a fresh schedule of one stage; some keep a history, so each part of a batch has its own.

    Raises InputError for what cannot run: of `refiner_start` where a stage has no step.
    """
    steps, denoise = settings.steps, settings.denoise
    config, name, eta = stage.scheduler_config, settings.scheduler, settings.eta
    try:
        if stage.takes_over:  # the rest of the schedule that the base had, from image to image too
            return make_schedule(config, name, int(steps / denoise), eta, start=stage.start)
        return make_schedule(config, name, steps, eta, denoise=denoise, stop=stage.stop)
    except InputError as e:
        if e.name != "start":
            raise
        edge = stage.start if stage.takes_over else stage.stop
        raise InputError("refiner_start", edge, _no_step(stage, edge, steps, denoise)) from e


def _no_step(stage: Stage, edge: float, steps: int, denoise: float) -> str:
    """Say what to do where a stage has no step to run."""
    if not stage.takes_over and 1 - denoise >= edge:
        return (
            f"At denoise {denoise:g} the run begins after the refiner has taken over, so nothing is left for the "
            f"model. Set denoise above {1 - edge:.2g}, or refiner_start above {1 - denoise:.2g}."
        )
    who, way = ("refiner", "Lower") if stage.takes_over else ("model", "Raise")
    return f"Of {steps} steps none is the {who}'s. {way} refiner_start, or take more steps."


@dataclass(frozen=True, eq=False)
class _Run:
    """What the stages and parts of one call of `sample` share; `start` and `mask` are (B, ., h, w) on the CPU."""

    settings: SampleSettings
    options: SampleOptions
    texts: list[str]
    negative_prompt: str
    seeds: list[int]
    size: tuple[int, int]
    start: torch.Tensor | None
    mask: torch.Tensor | None
    progress: Progress
    place: Place


def _run_stage(
    run: _Run, stage: Stage, x: torch.Tensor | None, streams: list[torch.Tensor] | None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run all images through one stage: x (B, C, h, w) float32 on the CPU, and where their noise streams stand."""
    model, count, scale = stage.model, len(run.seeds), run.settings.guidance_scale
    guided = is_guided(model, scale)
    negative_prompt = run.negative_prompt if guided else None
    encoded, negative = encode_with_negative(shared_cache(), model, run.texts, negative_prompt, run.place)
    height, width = run.size
    shape = (model.channels, height // model.downscale, width // model.downscale)
    after: list[torch.Tensor] = []
    options = _fitting_options(run)

    def work(rows: slice) -> torch.Tensor:
        network = Network(model, encoded[rows], negative, guidance_scale=scale, size=run.size, options=options)
        noise = ImageNoise(run.seeds[rows], shape, streams and streams[rows])
        with network:
            part = _run_part(run, stage, network, noise, None if x is None else x[rows].to(model.device), rows)
        after.extend(noise.states())
        return part.cpu()

    each = unet_bytes(model, height, width, 2 if guided else 1)
    at_once = min(run.options.at_once or count, count)
    working = at_once * each + merged_bytes(model, ("unet",))
    with run.place([model.unet], working), applied_loras(model, ("unet",)):
        most = most_at_once(model, height, width, 2 if guided else 1)
        size = run.options.at_once or fitting(each, count, model.device, most)
        one = f"one picture of {width} x {height}"
        return torch.cat(list(in_parts(count, size, work, what="sampling", each=one))), after


def _fitting_options(run: _Run) -> SampleOptions:
    """Return the options, with compile in place of fast where steps are too few to skip any: each one counts there."""
    few = run.settings.scheduler == "lcm" or run.settings.steps < FAST_STEPS
    return replace(run.options, speed="compile") if run.options.speed == "fast" and few else run.options


@torch.no_grad()
def _run_part(
    run: _Run, stage: Stage, network: Network, noise: ImageNoise, x: torch.Tensor | None, rows: slice
) -> torch.Tensor:
    """Run one part of the batch through one stage, where the network computes. Out of memory takes its count back."""
    model, schedule, done = stage.model, schedule_of(stage, run.settings), 0
    keep = _keeping(run, stage, schedule, noise, rows)
    if stage.takes_over:
        x = keep(x, 0)
    else:
        unit = noise.draw(model.device)
        x = schedule.begin(unit) if x is None else schedule.noised(x, unit)

    def on_step(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        nonlocal done
        x = keep(x, index + 1)
        done += len(x)
        run.progress.advance(len(x))
        run.progress.preview(partial(preview_picture, model, x0))
        return x

    try:
        x = denoise(network, schedule, x, noise, on_step)
    except Exception as error:
        if is_out_of_memory(error):
            run.progress.advance(-done)
        raise
    if not torch.isfinite(x).all():
        raise NonFiniteError(
            f"The UNet of {model.name} produced NaN or infinity in {model.dtype}. Load the model in float32, "
            "or lower guidance_scale."
        )
    return x


def _keeping(
    run: _Run, stage: Stage, schedule: Schedule, noise: ImageNoise, rows: slice
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return what puts the kept region back into the sample at `timesteps[index]`, as diffusers' inpainting does.

    The region is the start with the noise the run began with, or clean past the end of the last stage.
    """
    if run.mask is None or run.start is None:
        return lambda x, index: x
    device = stage.model.device
    mask, clean = run.mask[rows].to(device), run.start[rows].to(device)
    first = ImageNoise(noise.seeds, noise.shape).draw(device)

    def keep(x: torch.Tensor, index: int) -> torch.Tensor:
        if index < len(schedule.timesteps):
            return torch.lerp(schedule.noised(clean, first, index), x, mask)
        return torch.lerp(clean, x, mask) if stage.last else x  # the next stage does it at its own level

    return keep

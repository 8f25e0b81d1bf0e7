"""The sampling loop: prompts and seeds to pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..loaders.errors import InputError, NonFiniteError
from ..loaders.model import DiffusionModel
from ..loaders.texts import check_prompts
from .decode import decode
from .noise import ImageNoise
from .prompts import Conditioning, encode_negative, encode_prompts, time_ids
from .schedules import Schedule, make_schedule
from .settings import MAX_BATCH, MAX_SEED, SampleSettings


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
        done: steps taken so far, over all chunks; total: steps to take.
        first: index in the whole batch of the first image of this chunk.
        x0: (B, C, h, w) the clean samples foreseen for this chunk, where the network runs.
    """

    done: int
    total: int
    first: int
    x0: torch.Tensor


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
    chunk: int = 0,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Samples:
    """Sample one image for each seed.

    Args:
        model: from `load_diffusion_model`; it is not changed.
        prompts: one text for all images or one for each; must be empty for unconditional models.
        negative_prompt: what to steer away from.
        scheduler: `"ddim"`, `"ddpm"` or `"pndm"`.
        steps: 1 to the number of training timesteps.
        guidance_scale: 1 is off; unused by unconditional models.
        eta: 0 to 1, fresh noise in each DDIM step.
        seeds: image i is made from `seeds[i]` alone.
        height, width: pixels; 0 is the model's own.
        chunk: images denoised together; 0 is all. Changes results by rounding only.
        on_step: called after each step; what it raises stops the sampling.

    Raises:
        InputError: an argument that cannot be used, by name.
        NonFiniteError: the network produced NaN or infinity.
    """
    settings = SampleSettings(scheduler, steps, guidance_scale, eta, height, width)
    seeds = _checked_seeds(seeds)
    texts = _one_prompt_each(model, prompts, negative_prompt, len(seeds))
    height, width = image_size(model, settings.height, settings.width)
    size = chunk or len(seeds)
    starts = range(0, len(seeds), size)
    parts, done = [], 0
    for first in starts:
        schedule = make_schedule(model.scheduler_config, scheduler, steps, eta)
        rows = slice(first, first + size)
        denoise = _guided_network(model, texts[rows], negative_prompt, guidance_scale, height, width)
        shape = (model.channels, height // model.downscale, width // model.downscale)
        noise = ImageNoise(seeds[rows], shape)
        total = len(schedule.timesteps) * len(starts)
        report = _reporter(on_step, done, total, first)
        parts.append(_denoise(model, schedule, denoise, noise, report))
        done += len(schedule.timesteps)
    latents = torch.cat(parts)
    return Samples(decode(model, latents), latents.cpu(), tuple(seeds), tuple(texts))


@torch.no_grad()
def _denoise(
    model: DiffusionModel,
    schedule: Schedule,
    denoise: Callable[[torch.Tensor, float], torch.Tensor],
    noise: ImageNoise,
    report: Callable[[int, torch.Tensor], None],
) -> torch.Tensor:
    """From noise to a clean sample, (B, C, h, w) float32. The schedule's arithmetic is float32."""
    x = schedule.begin(noise.draw(model.device))
    for index, t in enumerate(schedule.timesteps):
        output = denoise(schedule.network_input(index, x), t)
        x, x0 = schedule.step(index, x, output, noise)
        report(index, x0)
    if not torch.isfinite(x).all():
        raise NonFiniteError(
            f"The UNet of {model.name} produced NaN or infinity in {model.dtype}. Load the model in float32, "
            "or lower guidance_scale."
        )
    return x


def _guided_network(
    model: DiffusionModel,
    prompts: Sequence[str],
    negative_prompt: str,
    guidance_scale: float,
    height: int,
    width: int,
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """The network as a function of (x_t, t), guidance included; float32 in and out.

    Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598) in one concatenated forward:
    output = u + guidance_scale (c - u).
    """
    if not model.conditional:
        return lambda x, t: model.unet(x.to(model.dtype), t).sample.float()
    positive = encode_prompts(model, prompts)
    guided = guidance_scale > 1.0
    if guided:
        negative = encode_negative(model, negative_prompt, len(prompts))
        both = zip(negative, positive, strict=True)
        positive = Conditioning(*(torch.cat(pair) for pair in both))
    sizes = time_ids(model, height, width, len(positive.context))
    added = {"text_embeds": positive.pooled, "time_ids": sizes}

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        rows = torch.cat([x, x]) if guided else x
        output = model.unet(rows.to(model.dtype), t, positive.context, added_cond_kwargs=added).sample
        if not guided:
            return output.float()
        unguided, conditioned = output.float().chunk(2)
        return unguided + guidance_scale * (conditioned - unguided)

    return denoise


def _reporter(
    on_step: Callable[[StepInfo], None] | None, done: int, total: int, first: int
) -> Callable[[int, torch.Tensor], None]:
    if on_step is None:
        return lambda index, x0: None
    return lambda index, x0: on_step(StepInfo(done + index + 1, total, first, x0))


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    if isinstance(seeds, int) or not 1 <= len(seeds) <= MAX_BATCH:
        raise InputError("seeds", seeds, f"Give a list of 1 to {MAX_BATCH} seeds, one for each image.")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise InputError("seeds", seed, f"A seed is a whole number from 0 to {MAX_SEED}.")
    return list(seeds)


def _one_prompt_each(
    model: DiffusionModel, prompts: str | Sequence[str], negative_prompt: str, count: int
) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    check_prompts(texts)
    check_prompts([negative_prompt], "negative_prompt")
    if not model.conditional:
        for name, text in (("prompts", "".join(texts)), ("negative_prompt", negative_prompt)):
            if text.strip():
                raise InputError(name, text, f"{model.name} is unconditional: it reads no text. Leave this empty.")
    if len(texts) == 1:
        texts = texts * count
    if len(texts) != count:
        raise InputError("prompts", texts, f"There are {len(texts)} prompts for {count} seeds; give one, or one each.")
    return texts


def image_size(model: DiffusionModel, height: int, width: int) -> tuple[int, int]:
    """(height, width) with zeros replaced by the model's own. Raises InputError for odd sizes."""
    native = model.native_size
    for name, value in (("height", height), ("width", width)):
        if value % model.size_multiple:
            raise InputError(
                name,
                value,
                f"{model.name} makes sizes that are multiples of {model.size_multiple}, or 0 for its own.",
            )
    return height or native[0], width or native[1]

"""Checks of a sampling call's arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ..core.errors import InputError, OutOfMemoryError
from ..core.memory import free_bytes
from ..core.settings import MAX_SEED
from ..core.texts import check_prompts
from ..loaders.model import DiffusionModel
from .prompts import check_readable
from .settings import MAX_BATCH, SampleSettings


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """Return the seeds as a list. Raises InputError."""
    if isinstance(seeds, int) or not 1 <= len(seeds) <= MAX_BATCH:
        raise InputError("seeds", seeds, f"Give a list of 1 to {MAX_BATCH} seeds, one for each image.")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise InputError("seeds", seed, f"A seed is a whole number from 0 to {MAX_SEED}.")
    return list(seeds)


def prompts_each(model: DiffusionModel, prompts: str | Sequence[str], negative_prompt: str, count: int) -> list[str]:
    """Return one prompt for each of `count` images. Raises InputError for texts the model cannot read."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    check_prompts(texts)
    check_prompts([negative_prompt], "negative_prompt")
    check_readable(model, texts)
    check_readable(model, [negative_prompt], "negative_prompt")
    if len(texts) == 1:
        texts = texts * count
    if len(texts) != count:
        raise InputError("prompts", texts, f"There are {len(texts)} prompts for {count} seeds; give one, or one each.")
    return texts


def check_refiner(model: DiffusionModel, refiner: DiffusionModel | None) -> None:
    """Raise InputError unless a refiner can go on where the model stops, and the model can start."""
    if model.spec.refines and refiner is not None:
        raise InputError("refiner", refiner.name, f"{model.name} is a refiner itself: connect the base model as model.")
    if refiner is None:
        return
    if not refiner.conditional or not model.conditional or refiner.channels != model.channels:
        raise InputError("refiner", refiner.name, f"It cannot go on from {model.name}: pick an SDXL refiner.")
    if refiner.downscale != model.downscale:
        raise InputError("refiner", refiner.name, f"Its latents have another scale than those of {model.name}.")


def picture_size(
    model: DiffusionModel, settings: SampleSettings, images: torch.Tensor | None, latents: torch.Tensor | None
) -> tuple[int, int]:
    """Return (height, width) in pixels: what is asked for, or what is given to start from, or the model's own.

    Raises InputError for sizes the model cannot make, and for more than one thing to start from.
    """
    if images is not None and latents is not None:
        raise InputError("images", "images and latents", "Give one of the two to start from.")
    given = None
    if images is not None:
        if images.ndim != 4 or images.shape[-1] != 3 or not torch.isfinite(images).all():
            raise InputError("images", tuple(images.shape), "It must be (B, H, W, 3) without NaN.")
        given = tuple(images.shape[1:3])
    if latents is not None:
        if latents.ndim != 4 or latents.shape[1] != model.channels or not torch.isfinite(latents).all():
            raise InputError("latents", tuple(latents.shape), f"{model.name} has {model.channels} channels.")
        given = tuple(n * model.downscale for n in latents.shape[2:])
    if given is None and settings.denoise < 1.0:
        raise InputError("denoise", settings.denoise, "Connect an image or a latent, or set denoise to 1.")
    sizes = []
    for i, (name, asked) in enumerate((("height", settings.height), ("width", settings.width))):
        if given is not None and asked not in (0, given[i]):
            raise InputError(name, asked, f"The start has a {name} of {given[i]}; scale it, or set {name} to 0.")
        value = asked or (given or model.native_size)[i]
        if value % model.size_multiple:
            raise InputError(name, value, f"{model.name} makes sizes that are multiples of {model.size_multiple}.")
        sizes.append(int(value))
    return sizes[0], sizes[1]


def check_room(count: int, size: tuple[int, int]) -> None:
    """Raise OutOfMemoryError where so many finished pictures, (H, W) each, take more than the computer has free."""
    needed, free = 12 * count * size[0] * size[1], free_bytes(torch.device("cpu"))
    if free is not None and needed > free:
        raise OutOfMemoryError(
            f"{count:,} pictures of {size[1]} x {size[0]} take {needed / 2**30:,.1f} GB of the computer's memory and "
            f"{free / 2**30:.1f} GB are free. Sample fewer at once, or smaller ones."
        )


def latent_mask(
    model: DiffusionModel, mask: torch.Tensor | None, size: tuple[int, int], count: int, *, start: bool
) -> torch.Tensor | None:
    """Return (count, 1, h, w) float32 on the CPU, 1 where the start is made anew, scaled as the host does; or None.

    Shape: mask (..., H, W), of any size; one, or one for each of `count` pictures. Raises InputError.
    """
    if mask is None:
        return None
    if not start:
        raise InputError("mask", tuple(mask.shape), "It says what of an image or latent to keep: connect one.")
    if mask.ndim < 2 or not mask.numel() or not ((mask >= 0) & (mask <= 1)).all():
        raise InputError("mask", tuple(mask.shape), "It must be (H, W) or (B, H, W), from 0 (kept) to 1 (made anew).")
    mask = mask.float().cpu().reshape(-1, 1, *mask.shape[-2:])
    if len(mask) not in (1, count):
        raise InputError("mask", len(mask), f"Give one, or one for each of the {count} pictures.")
    scaled = F.interpolate(mask, [n // model.downscale for n in size], mode="bilinear")
    return scaled.expand(count, -1, -1, -1)


def starting_latents(
    model: DiffusionModel,
    images: torch.Tensor | None,
    latents: torch.Tensor | None,
    count: int,
    encode: Callable[[DiffusionModel, torch.Tensor], torch.Tensor],
) -> torch.Tensor | None:
    """Return (count, C, h, w) float32 on the CPU to start from, or None. Raises InputError."""
    name, given = ("images", images) if latents is None else ("latents", latents)
    if given is None:
        return None
    if len(given) not in (1, count):
        raise InputError(name, len(given), f"Give one, or one for each of the {count} pictures.")
    start = encode(model, given) if latents is None else given.float().cpu()
    return start.expand(count, -1, -1, -1)

"""A picture made again from its file alone: seeds and lineage stand in the PNG that Save Ranked wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..core.errors import InputError
from ..core.files import open_regular, parse_json
from ..core.progress import Place, Progress, stay
from ..images.png import PngError, read_png
from ..images.prompts import METADATA_KEY
from ..loaders.model import DiffusionModel
from ..sampling.inputs import picture_size, prompts_each
from ..sampling.loop import Samples
from ..sampling.settings import SampleOptions, SampleSettings
from ..sampling.steps import ImageNoise
from .meter import Meter
from .methods.drafts import guide_again
from .recipe import Recipe, read_recipe
from .sampler import Particles, Sampler

_Settings = TypeVar("_Settings", SampleSettings, SampleOptions)


def again(
    model: DiffusionModel,
    picture: Path | str | Mapping[str, Any],
    *,
    progress: Progress | None = None,
    place: Place = stay,
) -> Samples:
    """Make a picture of a search again: one picture, the same bits on the same device. No reward is needed.

    Args:
        model: the one it was made with; its LoRAs too.
        picture: a PNG that Save Ranked wrote, or its record: `prompt` and `made`.

    Raises:
        InputError: a file or record without a search's lineage, another model.
    """
    record = _record(picture)
    made, prompt = record.get("made"), record.get("prompt")
    if not isinstance(made, Mapping) or made.get("by") != "search" or not isinstance(prompt, str):
        raise InputError("picture", _name(picture), "It does not say that a search made it.")
    if made.get("fingerprint") != model.fingerprint:
        raise InputError("model", model.name, f"The picture was made with {made.get('model')!r}, with other weights.")
    negative = made.get("negative_prompt")
    if not isinstance(negative, str):
        raise InputError("picture", _name(picture), "Its record has no negative_prompt.")
    sampling = _settings(SampleSettings, made.get("sampling"))
    options = _settings(SampleOptions, made.get("options"))
    recipe = read_recipe(made.get("recipe"))
    prompts_each(model, prompt, negative, 1)
    size = picture_size(model, sampling, None, None)
    meter, progress = Meter(0), progress or Progress()
    sampler = Sampler(model, prompt, negative, sampling, options, size, meter, progress, place)
    progress.phase("sampling", len(sampler.schedule().timesteps))
    latents = replay(sampler, recipe)
    return Samples(sampler.decoded(latents), latents, (recipe.seed,), (prompt,))


def replay(sampler: Sampler, recipe: Recipe) -> torch.Tensor:
    """Run one picture by its recipe: latents (1, C, h, w)."""
    noisy, change = sampler.noisy_steps(), guide_again(sampler, recipe)
    ends = [step for step, _ in recipe.path[1:]] + [len(noisy)]
    if any(end > len(noisy) for end in ends):
        raise InputError("recipe", recipe.path, f"The picture has {len(noisy)} steps.")
    particles = sampler.begin([recipe])
    for (start, seed), end in zip(recipe.path, ends, strict=True):
        if start:
            particles = _joined(particles, sampler, seed, sum(noisy[:start]))
        particles = sampler.run(particles, end, change)
    return particles.x


def _joined(particles: Particles, sampler: Sampler, seed: int, draws: int) -> Particles:
    """Let a particle go on with the noise of another slot, whose stream has been drawn from so often."""
    noise = ImageNoise([seed], sampler.shape)
    for _ in range(1 + draws):  # the first noise, then one a noisy step
        noise.draw(torch.device("cpu"))
    recipe = Recipe(((0, seed),))  # only its stream counts here
    return particles._replace(recipes=(recipe,), states=tuple(noise.states()))


def _record(picture: Path | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a picture's record. Raises InputError for a file that has none."""
    if isinstance(picture, Mapping):
        return picture
    path = Path(picture)
    try:
        with open_regular(path) as file:
            text = read_png(file, [METADATA_KEY]).texts.get(METADATA_KEY, "")
        content = parse_json(text) if text else None
    except (OSError, PngError, ValueError) as e:
        raise InputError("picture", path.name, f"Its record cannot be read ({e}).") from e
    if not isinstance(content, dict):
        raise InputError("picture", path.name, "It has no record of Save Ranked.")
    return content


def _settings(kind: type[_Settings], content: Any) -> _Settings:
    """Return settings from a record; fields that came later keep their defaults. Raises InputError."""
    known = {spec.name for spec in fields(kind)}
    if not isinstance(content, Mapping) or not set(content) <= known:
        raise InputError("picture", content, f"Its record holds no {kind.__name__} that this version knows.")
    for spec in fields(kind):
        value = content.get(spec.name, spec.default)
        if isinstance(spec.default, (int, float)) and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(spec.name, value, "The picture's record holds no number there.")
    return kind(**content)


def _name(picture: Path | str | Mapping[str, Any]) -> str:
    return "a record" if isinstance(picture, Mapping) else Path(picture).name

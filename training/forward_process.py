"""The forward process: finished pictures noised afresh, and what the network should say of them.

Legend: B pictures, K timesteps of each, N (picture, timestep) pairs, C h w of what the UNet denoises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..core.errors import ModelFileError
from ..core.randomness import generator
from ..loaders.model import DiffusionModel
from ..sampling.scheduler_config import build, model_config
from .config import FineTuneConfig
from .trajectory import Pairs


class NoiseLevels(NamedTuple):
    """Hold how a model was trained: alphas_cumprod (N training timesteps,), float32, and what its network predicts."""

    alphas: torch.Tensor
    prediction_type: str


def noise_levels(model: DiffusionModel) -> NoiseLevels:
    """Return the levels of a model's own training timesteps. Raises ModelFileError where they mean nothing."""
    config = model_config(model.scheduler_config)
    alphas = build(config, "ddim").alphas_cumprod.float()
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type == "epsilon" and (alphas == 0).any():
        raise ModelFileError(
            "This model's scheduler config ends in pure noise (zero terminal SNR), where a network that predicts "
            "epsilon has nothing to learn: it should say v_prediction."
        )
    return NoiseLevels(alphas, prediction_type)


def noised(
    x0: torch.Tensor, noise: torch.Tensor, alphas: torch.Tensor, prediction_type: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x_t = sqrt(a) x0 + sqrt(1-a) noise, and what a network of that prediction type should say of it.

    Shape: x0, noise and both results (N, C, h, w); alphas (N,). The target is the noise, v = sqrt(a) noise -
    sqrt(1-a) x0 (Salimans & Ho 2022, app. D), or x0. Raises ValueError for another type.
    """
    level = alphas.view(-1, 1, 1, 1)
    signal, std = level.sqrt(), (1 - level).sqrt()
    x_t = signal * x0 + std * noise
    if prediction_type == "epsilon":
        return x_t, noise
    if prediction_type == "v_prediction":
        return x_t, signal * noise - std * x0
    if prediction_type == "sample":
        return x_t, x0
    raise ValueError(f"prediction_type {prediction_type!r} is not known")


def realigned(
    x0: torch.Tensor, noise: torch.Tensor, e: torch.Tensor, alphas: torch.Tensor, later: torch.Tensor
) -> torch.Tensor:
    """Return what a picture becomes by one step of a network, the rest of the way by the noise that is known.

    x0 is noised to a, a ddim step with the network's noise e leads to the cleaner a', and from there x0 is recovered
    with `noise` itself (Direct-Align; Shen et al. 2025, arXiv 2509.06942, eq. 5 to 8). With r = sqrt((1-a) / a):

        x0 + (r(a) - r(a')) (noise - e)

    which is x0 exactly where e = noise. Shape: x0, noise, e (N, C, h, w); alphas, later (N,).
    """
    ratios = [((1 - level) / level).sqrt().view(-1, 1, 1, 1) for level in (alphas, later)]
    return x0 + (ratios[0] - ratios[1]) * (noise - e)


class Draws(NamedTuple):
    """Say at which noise levels an epoch's pictures are learned from.

    Attributes:
        timesteps: (B, K) whole numbers, the same for all pictures of a group.
        updates: the pairs of each optimizer step; `step` counts the K. Those of one group and k stand together.
    """

    timesteps: torch.Tensor
    updates: list[Pairs]


def draw_timesteps(pictures: int, count: int, config: FineTuneConfig, epoch: int) -> Draws:
    """Draw K stratified timesteps for each group of `group_size` pictures, and deal them to the updates.

    Of K equal parts of the window (`window_start` to `window_stop`, 0 is the noisiest of `count` training
    timesteps) each gets one, anywhere in it. An update gets whole groups at a timestep, so that what is common to a
    group cancels in it (V-GRPO, arXiv 2604.23380).
    """
    each, size = config.timesteps_per_picture, config.group_size
    draw = generator(config.seed, "timesteps", epoch)
    groups = pictures // size
    place = (torch.arange(each) + torch.rand(groups, each, generator=draw, dtype=torch.float64)) / each
    place = config.window_start + (config.window_stop - config.window_start) * place  # in [0, 1)
    timesteps = (count - 1 - (place * count).long()).clamp(0, count - 1)
    order = torch.randperm(groups * each, generator=draw)
    parts = torch.tensor_split(order, min(config.updates_per_epoch, len(order)))
    return Draws(timesteps.repeat_interleave(size, dim=0), [_pairs(part, each, size) for part in parts])


def _pairs(units: torch.Tensor, each: int, size: int) -> Pairs:
    group, step = units // each, units % each
    picture = (group[:, None] * size + torch.arange(size)).flatten()
    return Pairs(picture, step.repeat_interleave(size))


def draw_noise(
    pairs: Pairs, shape: Sequence[int], config: FineTuneConfig, epoch: int, device: torch.device
) -> torch.Tensor:
    """Draw the noise of pairs whose pictures are counted over all processes: one for a group and timestep.

    Shape: (N, C, h, w) float32 for `shape` (C, h, w); drawn on the CPU.
    """
    known: dict[tuple[int, int], torch.Tensor] = {}
    rows = []
    for picture, step in zip(pairs.picture.tolist(), pairs.step.tolist(), strict=True):
        key = (picture // config.group_size, step)
        if key not in known:
            known[key] = torch.randn(*shape, generator=generator(config.seed, "noise", epoch, *key))
        rows.append(known[key])
    return torch.stack(rows).to(device)

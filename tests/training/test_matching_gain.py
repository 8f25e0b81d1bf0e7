"""Matching against DDPO, reward gradients, and preferences, on a mixture of two Gaussians, learned in seconds.

The network has six thousand weights.

A picture has 12 numbers, all around 0.4 or all around -0.4, so that its brightness is 0.7 or 0.3; the reward is
brightness. An untrained network would not do: matching moves what a network knows of its own pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from tastemaker.loaders import DiffusionModel
from tastemaker.ranking import ScoreTable
from tastemaker.rewards import Reward, custom
from tastemaker.sampling import sample
from tastemaker.training import PreferenceConfig, finetune, preference_tune
from tastemaker.training.preference.sources import from_ranked

from .conftest import DDPM, brightness, quick

SCHEDULER = {**DDPM, "clip_sample": False}
PICTURES = 64  # an epoch
# of learning rates 3e-3, 1e-2 and 2e-2 and clip ranges 0.1 and 1, what DDPO got furthest with in 16 epochs
DDPO = {"learning_rate": 3e-3, "clip_range": 0.1 * 12 / 16_384, "timestep_fraction": 1.0}
MATCHING = {"algorithm": "matching", "learning_rate": 3e-3, "timesteps_per_picture": 2}
GRADIENT = {"algorithm": "reward_gradient", "learning_rate": 3e-3, "timesteps_per_picture": 2}


class Network(torch.nn.Module):
    """Two hidden layers on 12 numbers and the time, called as a UNet is."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(in_channels=3, block_out_channels=(8,), sample_size=2)
        layers = [torch.nn.Linear(16, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU()]
        self.layers = torch.nn.Sequential(*layers, torch.nn.Linear(64, 12))

    @classmethod
    def from_config(cls, config: Any) -> Network:
        return cls()

    def forward(self, sample: torch.Tensor, timestep: Any) -> SimpleNamespace:
        t = torch.as_tensor(timestep).expand(len(sample)).float() / 1000
        time = torch.stack([t, (3 * t).sin(), (3 * t).cos(), t * t], dim=1)
        return SimpleNamespace(sample=self.layers(torch.cat([sample.flatten(1), time], dim=1)).view_as(sample))


@pytest.fixture(scope="module")
def mixture() -> DiffusionModel:
    levels = DDPMScheduler.from_config(SCHEDULER).alphas_cumprod
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network()
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(800):
            x0 = 0.4 * torch.randint(0, 2, (256, 1, 1, 1)).mul(2).sub(1) + 0.2 * torch.randn(256, 3, 2, 2)
            t, noise = torch.randint(0, 1000, (256,)), torch.randn_like(x0)
            a = levels[t].view(-1, 1, 1, 1)
            loss = (network(a.sqrt() * x0 + (1 - a).sqrt() * noise, t).sample - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return DiffusionModel("mixture", "ddpm", {"unet": network.eval().requires_grad_(False)}, (), SCHEDULER, "a" * 16)


def curve(
    model: DiffusionModel, seed: int, epochs: int, *, reward: Reward | Callable[..., Any] = brightness, **changes: Any
) -> list[float]:
    """Mean brightness of each epoch's pictures, those of the first by the base."""
    settings = {"samples_per_epoch": PICTURES, "group_size": 16, "steps": 10, "train": "full", "train_batch_size": 512}
    config = quick(seed=seed, epochs=epochs, updates_per_epoch=2, **settings, **changes)
    return [report.reward for report in finetune(model, reward, "", config)]


def test_matching_gains_in_half_the_pictures_what_ddpo_gains(mixture: DiffusionModel) -> None:
    """By the mean over 4 seeds, in pairs, by more than two standard errors of that mean.

    Both samplers are ddim with eta 1. DDPO: 16 epochs, settings of its own; matching: 8 epochs.
    """
    seeds = range(4)
    ddpo = torch.tensor([curve(mixture, seed, 16, **DDPO) for seed in seeds])
    matching = torch.tensor([curve(mixture, seed, 8, **MATCHING) for seed in seeds])
    # the first epoch's pictures are the base's: half of each mode, standard deviation 0.2 of 64 pictures
    assert (matching[:, 0] - 0.5).abs().max() < 4 * 0.2 / math.sqrt(PICTURES)
    assert torch.equal(matching[:, 0], ddpo[:, 0])
    assert (ddpo[:, -1] - ddpo[:, 0]).mean() > 0.2  # from between the modes to the brighter one
    difference = matching[:, -1] - ddpo[:, -1]
    assert difference.mean() > 2 * difference.std() / math.sqrt(len(difference))


def test_by_a_deterministic_sampler_too(mixture: DiffusionModel) -> None:
    """dpmpp_2m draws no noise, so DDPO has nothing to learn from; matching has: over half the way to the mode."""
    curves = [curve(mixture, seed, 8, scheduler="dpmpp_2m", **MATCHING) for seed in range(2)]
    gains = [found[-1] - found[0] for found in curves]
    assert sum(gains) / len(gains) > 0.1


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("form", ["draft_1", "draft_lv", "direct_align"])
def test_reward_gradients_reach_the_brighter_mode_in_four_epochs(
    mixture: DiffusionModel, form: str, scheduler: str
) -> None:
    """From between the modes, by samplers with noise and without."""
    reward = custom("brightness", brightness, differentiable=True)
    for seed in range(2):
        found = curve(mixture, seed, 5, reward=reward, scheduler=scheduler, gradient_form=form, **GRADIENT)
        assert found[-1] - found[0] > 0.2


def preferred(model: DiffusionModel, seed: int, **changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Brightness of pictures before and after, (256,) each, from the same seeds; 100 pairs of its own say brighter."""
    how = {"scheduler": "ddim", "steps": 10, "eta": 1.0}
    known = sample(model, "", seeds=range(1000 * seed, 1000 * seed + 200), **how).images
    scores = {"bright": brightness(known, [""] * len(known))}
    table = ScoreTable(known, ("",) * len(known), tuple(range(len(known))), scores, "bright")
    config = PreferenceConfig(
        **{"seed": seed, "epochs": 8, "samples_per_epoch": 128, "steps": 10, "train": "full", "learning_rate": 3e-3},
        **{"train_batch_size": 512, "updates_per_epoch": 4, "sample_every": 0, "held_out_share": 0.0, **changes},
    )
    run = preference_tune(model, from_ranked(table, pairs_per_prompt=100), config)
    list(run)
    seeds = range(10**6, 10**6 + 256)
    before, after = (sample(one, "", seeds=seeds, **how).images for one in (model, run.model))
    return before.mean((1, 2, 3)), after.mean((1, 2, 3))


def test_preferences_by_matching_choose_the_brighter_mode_and_keep_it(mixture: DiffusionModel) -> None:
    """From about half of the pictures to two thirds and more, as bright as that mode is: 0.7, give or take a tenth."""
    for seed in range(2):
        before, after = preferred(mixture, seed, preference_form="matching")
        chosen = after[after > 0.5]
        assert (before > 0.5).float().mean() < 0.55
        assert len(chosen) / len(after) > 2 / 3
        assert abs(chosen.mean() - 0.7) < 0.05
        assert chosen.quantile(0.95) < 0.8


def test_preferences_by_dpo_leave_no_picture_dark(mixture: DiffusionModel) -> None:
    """All are bright then, and the modes are lost on the way: its pictures are nearly one."""
    for seed in range(2):
        _, after = preferred(mixture, seed, preference_form="dpo", beta=5.0)
        assert after.min() > 0.5
        assert after.std() < 0.03


def test_rehearsing_forgets_neither_mode(mixture: DiffusionModel) -> None:
    """Long after the reward alone has whitened every picture, both modes are painted, each as wide as it was: 0.1."""
    for seed in range(2):
        found = {}
        for weight in (0.0, 0.3):
            settings = {"samples_per_epoch": PICTURES, "group_size": 16, "steps": 10, "train": "full"}
            config = quick(seed=seed, epochs=16, updates_per_epoch=2, train_batch_size=512, **settings, **MATCHING,
                           rehearsal_weight=weight)  # fmt: skip
            run = finetune(mixture, brightness, "", config)
            list(run)
            how = {"scheduler": "ddim", "steps": 10, "eta": 1.0}
            found[weight] = sample(run.model, "", seeds=range(10**6, 10**6 + 256), **how).images.mean((1, 2, 3))
        alone, rehearsed = found[0.0], found[0.3]
        assert alone.min() > 0.6  # neither mode, but the reward's hole
        assert alone.mean() > 0.95
        assert 0.05 < (rehearsed < 0.5).float().mean() < 0.4
        assert 0.6 < rehearsed[rehearsed > 0.5].mean() < 0.8  # the brighter mode is where it was

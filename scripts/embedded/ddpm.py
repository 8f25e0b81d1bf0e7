"""Train tiny-ddpm: an unconditional pixel-space DDPM of the world (Ho et al. 2020).

Its pictures are framed alike, as ddpm-church-256's are: large shapes in the middle. It predicts
v (Salimans & Ho 2022) and not the noise: in the noisiest steps, where colours and places are
decided, the noise says almost nothing about the picture, and a model this small never gets there.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from .training import Learner, Pictures, autocast, batches, draw_scenes, to_model_range
from .world import random_scene

STEPS, BATCH, LEARNING_RATE = 10_000, 16, 2e-3
DECIDING = (300, 900)  # timesteps
PICTURES = 6000


def build():
    """The untrained UNet2DModel, 3.2 M parameters, attention at 8x8."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 16, 96, 128),
        norm_num_groups=8,
        attention_head_dim=32,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def scheduler():
    """The scheduler of google/ddpm-church-256, but for v."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample=True,
        variance_type="fixed_small",
        prediction_type="v_prediction",
    )


def draw_centred(seed: int) -> Pictures:
    """Large shapes in the middle, of every combination outside the held-out ones."""
    rng = np.random.default_rng(seed)
    scenes = [
        dataclasses.replace(random_scene(rng, from_held_out=False), size="large", position="centre")
        for _ in range(PICTURES)
    ]
    return draw_scenes(scenes, rng)


def draw_timesteps(count: int, *, device: str) -> torch.Tensor:
    """Half from the whole range, half from the part where shapes and colours are decided."""
    anywhere = torch.randint(0, 1000, (count,), device=device)
    deciding = torch.randint(*DECIDING, (count,), device=device)
    return torch.where(torch.rand(count, device=device) < 0.5, deciding, anywhere)


def train(pictures: Pictures, *, seed: int, device: str, steps: int = STEPS):
    """Return the averaged UNet2DModel, taught to predict v."""
    torch.manual_seed(seed)
    unet, noise_schedule = build().to(device).train(), scheduler()
    learner = Learner("ddpm", unet, lr=LEARNING_RATE, steps=steps)
    for index in batches(len(pictures.scenes), BATCH, steps, seed):
        picture = to_model_range(pictures.pixels[index]).to(device)
        noise = torch.randn_like(picture)
        timesteps = draw_timesteps(len(picture), device=device)
        noisy = noise_schedule.add_noise(picture, noise, timesteps)
        with autocast(device):
            predicted = unet(noisy, timesteps).sample
        learner(F.mse_loss(predicted.float(), noise_schedule.get_velocity(picture, noise, timesteps)))
    return learner.average

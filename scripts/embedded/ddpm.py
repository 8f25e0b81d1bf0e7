"""Train tiny-ddpm: an unconditional pixel-space DDPM of the world (Ho et al. 2020).

Its pictures are framed alike, as ddpm-church-256's are: large shapes, exactly in the middle. It predicts
the clean picture and not the noise (`prediction_type="sample"`): a clean picture of this world is simple
and a picture of noise never is, so the few channels at full size need not carry the noise through.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from .training import Learner, Pictures, autocast, batches, draw_scenes, to_model_range
from .world import Jitter, random_scene

STEPS, BATCH, LEARNING_RATE, DECAY = 4000, 16, 2e-3, 0.998
DECIDING = (200, 800)  # timesteps
LARGEST_WEIGHT = 5.0
PICTURES = 6000


def build():
    """Return the untrained UNet2DModel, 2.7 M parameters, attention at 8x8."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 32, 64, 128),
        norm_num_groups=8,
        attention_head_dim=32,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def scheduler():
    """Return the scheduler of google/ddpm-church-256, but for what the network predicts."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample=True,
        variance_type="fixed_small",
        prediction_type="sample",
    )


def draw_centred(seed: int) -> Pictures:
    """Large shapes in the middle, all of one size, of every combination outside the held-out ones."""
    rng = np.random.default_rng(seed)
    scenes = [
        dataclasses.replace(random_scene(rng, from_held_out=False), size="large", position="centre")
        for _ in range(PICTURES)
    ]
    jitters = [dataclasses.replace(Jitter.random(rng), radius=0.0, dx=0.0, dy=0.0) for _ in scenes]
    return draw_scenes(scenes, rng, jitters)


def draw_timesteps(count: int, *, device: str) -> torch.Tensor:
    """Half from the whole range, half from the part where shapes and colours are decided."""
    anywhere = torch.randint(0, 1000, (count,), device=device)
    deciding = torch.randint(*DECIDING, (count,), device=device)
    return torch.where(torch.rand(count, device=device) < 0.5, deciding, anywhere)


def weights(signal: torch.Tensor) -> torch.Tensor:
    """Each picture's weight in the loss, from its cumulative alpha: v's (Salimans & Ho 2022), bounded.

    The squared error of v is 1/(1 - alpha) times that of the clean picture, without end as noise goes.
    """
    return (1 / (1 - signal)).clamp(max=LARGEST_WEIGHT)


def matrices(unet: nn.Module) -> list[nn.Parameter]:
    """Return the weights inside the network that Muon teaches; the ends and the clock are left to AdamW."""
    ends = ("conv_in", "conv_out", "time_emb")
    named = [(n, p) for n, p in unet.named_parameters() if p.ndim >= 2 and "time_emb_proj" not in n]
    return [p for n, p in named if not n.startswith(ends)]


def train(pictures: Pictures, *, seed: int, device: str, steps: int = STEPS):
    """Return the averaged UNet2DModel, taught to predict the clean picture."""
    torch.manual_seed(seed)
    unet, noise_schedule = build().to(device).train(), scheduler()
    learner = Learner("ddpm", unet, lr=LEARNING_RATE, steps=steps, decay=DECAY, by_matrix=matrices(unet))
    alphas = noise_schedule.alphas_cumprod.to(device)
    for index in batches(len(pictures.scenes), BATCH, steps, seed):
        picture = to_model_range(pictures.pixels[index]).to(device)
        timesteps = draw_timesteps(len(picture), device=device)
        noisy = noise_schedule.add_noise(picture, torch.randn_like(picture), timesteps)
        with autocast(device):
            predicted = unet(noisy, timesteps).sample
        errors = (predicted.float() - picture).square().mean((1, 2, 3))
        learner((weights(alphas[timesteps]) * errors).mean())
    return learner.average

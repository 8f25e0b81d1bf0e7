"""Train the autoencoder of tiny-sdxl: 64 px pictures to 16x16x4 latents and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .training import Learner, Pictures, autocast, batches, to_model_range

STEPS, BATCH, LEARNING_RATE = 2400, 16, 2e-3


def build():
    """Return the untrained AutoencoderKL: the SDXL VAE's class, 4x down, 0.7 M parameters."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        force_upcast=False,
    )


def _edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def _loss(picture: torch.Tensor, rebuilt: torch.Tensor) -> torch.Tensor:
    edges = sum(F.l1_loss(a, b) for a, b in zip(_edges(rebuilt), _edges(picture), strict=True))
    return F.l1_loss(rebuilt, picture) + F.mse_loss(rebuilt, picture) + edges


def train(pictures: Pictures, *, seed: int, device: str, steps: int = STEPS):
    """Return the averaged VAE, its `scaling_factor` set so that latents have unit variance."""
    torch.manual_seed(seed)
    vae = build().to(device)
    learner = Learner("vae", vae, lr=LEARNING_RATE, steps=steps, decay=0.998)
    for index in batches(len(pictures.scenes), BATCH, steps, seed):
        picture = to_model_range(pictures.pixels[index]).to(device)
        with autocast(device):
            posterior = vae.encode(picture).latent_dist
            rebuilt = vae.decode(posterior.sample()).sample
        loss = _loss(picture, rebuilt.float()) + 1e-5 * posterior.kl().float().mean() / 1024
        learner(loss)
    vae = learner.average
    latents = encode(vae, pictures.pixels[:1024], device=device)
    vae.register_to_config(scaling_factor=round(1.0 / latents.std().item(), 5))
    return vae


@torch.no_grad()
def encode(vae, pixels: torch.Tensor, *, device: str) -> torch.Tensor:
    """Means of the latents of uint8 pictures (N, 3, H, W), unscaled, (N, 4, 16, 16), on the CPU."""
    parts = [vae.encode(to_model_range(part).to(device)).latent_dist.mean.float().cpu() for part in pixels.split(64)]
    return torch.cat(parts)

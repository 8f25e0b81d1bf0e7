"""Train the autoencoders of tiny-sdxl and tiny-emoji: pictures to latents of four channels at a quarter of the size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .training import Learner, Pictures, autocast, batches, matrices, plain_attention, to_model_range

CHANNELS = 4


@dataclass(frozen=True)
class Plan:
    """What is trained, and how. `edges` weighs the differences between neighbouring pixels."""

    name: str
    block_out_channels: tuple[int, int, int]
    sample_size: int
    steps: int
    learning_rate: float
    batch: int = 16
    decay: float = 0.998
    edges: float = 1.0
    by_matrix: bool = False  # Muon for what is a matrix or a convolution, AdamW for the rest
    standardised: bool = False  # every channel of the latents to mean 0 and variance 1, inside the 1x1 convolutions


SHAPES_PLAN = Plan("vae", (16, 32, 64), 64, steps=2400, learning_rate=2e-3)
EMOJI_PLAN = Plan(
    *("vae of tiny-emoji", (32, 32, 64), 96),
    steps=1800,
    learning_rate=3e-3,
    decay=0.997,
    edges=2.0,
    by_matrix=True,
    standardised=True,
)


def build(plan: Plan):
    """Return the untrained AutoencoderKL: the SDXL VAE's class, 4x down."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=plan.block_out_channels,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=plan.sample_size,
        force_upcast=False,
    )


def _edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def _loss(picture: torch.Tensor, rebuilt: torch.Tensor, weight: float) -> torch.Tensor:
    edges = sum(F.l1_loss(a, b) for a, b in zip(_edges(rebuilt), _edges(picture), strict=True))
    return F.l1_loss(rebuilt, picture) + F.mse_loss(rebuilt, picture) + weight * edges


def train(pictures: Pictures, plan: Plan, *, seed: int, device: str):
    """Return the averaged VAE, its `scaling_factor` set so that latents have unit variance."""
    torch.manual_seed(seed)
    vae = build(plan).to(device)
    plain_attention(vae)
    by_matrix = matrices(vae) if plan.by_matrix else []
    settings = {"lr": plan.learning_rate, "steps": plan.steps, "decay": plan.decay}
    learner = Learner(plan.name, vae, by_matrix=by_matrix, **settings)
    for index in batches(len(pictures.scenes), plan.batch, plan.steps, seed):
        picture = to_model_range(pictures.pixels[index]).to(device)
        with autocast(device):
            posterior = vae.encode(picture).latent_dist
            rebuilt = vae.decode(posterior.sample()).sample
        loss = _loss(picture, rebuilt.float(), plan.edges) + 1e-5 * posterior.kl().float().mean() / 1024
        learner(loss)
    vae = learner.average
    scale(vae, pictures, plan, device=device)
    return vae


@torch.no_grad()
def scale(vae, pictures: Pictures, plan: Plan, *, device: str) -> None:
    """Set the `scaling_factor` so that latents have unit variance; standardise each channel first, if the plan does."""
    latents = encode(vae, pictures.pixels[:1024], device=device)
    if plan.standardised:
        standardise(vae, latents.mean((0, 2, 3)).to(device), latents.std((0, 2, 3)).to(device))
        vae.register_to_config(scaling_factor=1.0)
    else:
        vae.register_to_config(scaling_factor=round(1.0 / latents.std().item(), 5))


@torch.no_grad()
def standardise(vae, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Move latents z of the given channel means and deviations (4,) to (z - mean) / std; what is decoded stays."""
    to_moments, from_latents = vae.quant_conv, vae.post_quant_conv
    scale = torch.cat([1 / std, torch.ones_like(std)])
    to_moments.weight.mul_(scale[:, None, None, None])
    to_moments.bias.mul_(scale)
    to_moments.bias[:CHANNELS] -= mean / std
    to_moments.bias[CHANNELS:] -= 2 * std.log()  # the second half is log variances
    from_latents.bias += from_latents.weight[:, :, 0, 0] @ mean
    from_latents.weight.mul_(std[None, :, None, None])


@torch.no_grad()
def encode(vae, pixels: torch.Tensor, *, device: str) -> torch.Tensor:
    """Means of the latents of uint8 pictures (N, 3, H, W), unscaled, (N, 4, h, w), on the CPU."""
    parts = [vae.encode(to_model_range(part).to(device)).latent_dist.mean.float().cpu() for part in pixels.split(64)]
    return torch.cat(parts)

"""Leading a sampler by quick drafts: the guide of LiDAR (arXiv 2602.03211). Pure.

The drafts z_k stand for the model's law, so that x_t = a z_k + s noise has the law sum_k N(a z_k, s^2). Tilted by their
rewards it has another score; the difference of the two scores is what leads. Legend: K drafts, B samples, D numbers.
"""

from __future__ import annotations

import torch


def guide(
    x: torch.Tensor, drafts: torch.Tensor, rewards: torch.Tensor, signal: float, noise: float, temperature: float
) -> torch.Tensor:
    """Compute the difference of the tilted and the plain score at x: (a / s^2) sum_k (w^r_k - w_k) z_k.

    w_k = softmax(-|x - a z_k|^2 / 2 s^2), w^r_k = softmax(lambda r_k - the same).

    Args:
        x: (B, C, h, w), at the level a = `signal`, s = `noise`.
        drafts: (K, C, h, w) clean.
        rewards: (K,).
        temperature: lambda.
    """
    flat, clean = x.flatten(1).double(), drafts.flatten(1).double()
    squared = torch.cdist(flat, signal * clean).square()  # (B, K)
    plain = -squared / (2 * noise**2)
    tilted = plain + temperature * rewards.double().to(plain.device)
    moved = (torch.softmax(tilted, 1) - torch.softmax(plain, 1)) @ clean  # (B, D)
    return (signal / noise**2 * moved).view_as(x).to(x.dtype)


def led(output_noise: torch.Tensor, guidance: torch.Tensor, noise: float, scale: float) -> torch.Tensor:
    """Return the predicted noise that a score moved by `guidance` has: e - s scale g. Shapes: (B, C, h, w)."""
    return output_noise - noise * scale * guidance


def softened(drafts: torch.Tensor, noise: float) -> float:
    """Return the noise to weigh drafts by: in many dimensions each x is one draft's alone, and the guide is nothing.

    The distance between drafts, a root mean square over pairs divided by the square root of two, is added to the
    schedule's own level: then several drafts have a say.
    """
    flat = drafts.flatten(1).double()
    apart = torch.pdist(flat)
    typical = float(apart.square().mean().sqrt()) / 2**0.5 if len(apart) else 0.0
    return (noise**2 + typical**2 / 2) ** 0.5

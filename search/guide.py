"""Drafts that steer a full render: the guide of LiDAR (arXiv 2602.03211). Pure.

Legend: x_t = a x0 + s noise, a^2 + s^2 = 1; K drafts, few-step pictures of the same prompt, with their rewards.
"""

from __future__ import annotations

import torch


def draft_guide(
    x_t: torch.Tensor, drafts: torch.Tensor, rewards: torch.Tensor, a: float, s: float, strength: float
) -> torch.Tensor:
    """Return the score difference between the drafts' mixture tilted by exp(strength r) and the mixture itself.

    w_k = softmax(-|x_t - a z_k|^2 / 2 s^2), w^r_k = softmax(strength r_k - the same), g = (a / s^2) sum (w^r - w) z_k:
    grad log p^r_t(x) - grad log p_t(x) where p_0 is the drafts. Equal rewards, or one draft, give zero.
    Shape: x_t (B, C, h, w), drafts (K, C, h, w), rewards (K,); result as x_t.
    """
    flat, points = x_t.flatten(1).double(), drafts.flatten(1).double()  # distances of near points cancel in float32
    closeness = -torch.cdist(flat, a * points).square() / (2 * s**2)  # (B, K)
    tilt = torch.softmax(closeness + strength * rewards.double(), 1) - torch.softmax(closeness, 1)
    return ((a / s**2) * (tilt @ points)).reshape(x_t.shape).to(x_t.dtype)


def guided_output(
    output: torch.Tensor, guide: torch.Tensor, a: float, s: float, scale: float, prediction_type: str
) -> torch.Tensor:
    """Move a network's output by a guide: the noise e becomes e - s * scale * guide (e = -s * score).

    With v = a e - s x0 and x0 = (x - s e) / a that is v - (s / a) scale guide; for x0 itself
    x0 + (s^2 / a) scale guide. Shape: all (B, C, h, w).
    """
    factor = {"epsilon": -s, "v_prediction": -s / a, "sample": s**2 / a}[prediction_type]
    return output + factor * scale * guide

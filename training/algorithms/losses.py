"""Losses as mathematics: tensors in, tensors out.

Legend: N (picture, step) pairs, D elements of what the UNet denoises. Log-probabilities are averages
over the D elements (`sampling.steps.log_prob`), as in the paper's code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

CLIP_ELEMENTS = 16_384  # what `clip_range` is stated for: 4 x 64 x 64 latents, a 512 px picture


class PairLoss(NamedTuple):
    """Hold the policy's loss of each pair, (N,).

    Attributes:
        loss: what is averaged and minimised.
        ratio: probability now over probability when it was sampled; no gradient.
        clipped: bool, whether the trust region clips this pair, so that it has no gradient.
    """

    loss: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor


def scaled_clip_range(clip_range: float, elements: int) -> float:
    """Return the clip range for pictures of `elements` numbers, from one stated for 16,384.

    The log-probability is an average over D elements, so a ratio leaves 1 +- c at a divergence of
    (c D)^2 / 2: the same trust region at every size wants c proportional to 1 / D.
    """
    return clip_range * CLIP_ELEMENTS / elements


def clipped_loss(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor, clip_range: float
) -> PairLoss:
    """Compute importance sampling with a clipped ratio (Black et al. 2023, eq. 6; Schulman et al. 2017, eq. 7).

    r = exp(log_prob - old);  loss = max(-A r, -A clip(r, 1 - c, 1 + c)).  Shape: all (N,).
    """
    ratio = (log_prob - old_log_prob).exp()
    unclipped = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - clip_range, 1 + clip_range)
    return PairLoss(torch.maximum(unclipped, clipped), ratio.detach(), (clipped > unclipped).detach())


def score_loss(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> PairLoss:
    """Compute the score-function (REINFORCE) form (Black et al. 2023, eq. 5): -A log_prob.  Shape: all (N,)."""
    ratio = (log_prob.detach() - old_log_prob).exp()
    return PairLoss(-advantage * log_prob, ratio, torch.zeros_like(ratio, dtype=torch.bool))


def kl_to_base(mean: torch.Tensor, base_mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Compute the KL of two Gaussians of equal standard deviation, averaged over C, h, w: (mean - base)^2 / 2 std^2.

    Shape: mean, base_mean (N, C, h, w), std (N,), above 0; result (N,). Flow-GRPO (arXiv 2505.05470).
    """
    return ((mean - base_mean) ** 2).mean(dim=(1, 2, 3)) / (2 * std**2)

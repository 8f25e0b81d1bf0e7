"""Losses as mathematics: tensors in, tensors out.

Legend: N (picture, step) pairs, C h w of what the UNet denoises, D = C h w elements. Log-probabilities are averages
over the D elements (`sampling.steps.log_prob`), as in the paper's code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

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


def masked_loss(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor, kl: torch.Tensor, bound: float
) -> PairLoss:
    """Compute importance sampling without clipping, less the pairs whose step has moved too far: -A r [kl <= bound].

    `kl` is that of the step before the epoch's first update and now, `step_kl`, exact where the clipped ratio of one
    draw is an estimate of it. A pair beyond the bound has neither loss nor gradient, whatever its advantage.
    Shape: all (N,).
    """
    ratio = (log_prob - old_log_prob).exp()
    outside = kl.detach() > bound
    return PairLoss((-advantage * ratio).masked_fill(outside, 0.0), ratio.detach(), outside)


def step_kl(mean: torch.Tensor, old_mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Compute the KL of a step's two Gaussians in nats: |mean - old|^2 / (2 std^2), summed over C, h, w; no gradient.

    Shape: mean, old_mean (N, C, h, w), std (N,), above 0; result (N,).
    """
    return kl_to_base(mean.detach(), old_mean, std) * mean[0].numel()


def score_loss(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> PairLoss:
    """Compute the score-function (REINFORCE) form (Black et al. 2023, eq. 5): -A log_prob.  Shape: all (N,)."""
    ratio = (log_prob.detach() - old_log_prob).exp()
    return PairLoss(-advantage * log_prob, ratio, torch.zeros_like(ratio, dtype=torch.bool))


def kl_to_base(mean: torch.Tensor, base_mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Compute the KL of two Gaussians of equal standard deviation, averaged over C, h, w: (mean - base)^2 / 2 std^2.

    Shape: mean, base_mean (N, C, h, w), std (N,), above 0; result (N,). Flow-GRPO (arXiv 2505.05470).
    """
    return ((mean - base_mean) ** 2).mean(dim=(1, 2, 3)) / (2 * std**2)


def matching_loss(
    e: torch.Tensor,
    e_old: torch.Tensor,
    e_ref: torch.Tensor | None,
    target: torch.Tensor,
    advantage: torch.Tensor,
    *,
    proximal: torch.Tensor | float = 1.0,
    weight: torch.Tensor | float = 1.0,
    beta: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Compute the loss of forward-process policy optimization: one formula for a family (`matching_terms` names them).

    L = w [ 2 A <e_old - target, e - e_old> + lambda |e - e_old|^2 ] + beta |e - e_ref|^2, where <.,.> and |.|^2 are
    means over C, h, w. e is the network's output for a finished picture that was noised afresh, e_old the same before
    the epoch's first update, e_ref the base's (None with beta 0), `target` what a perfect network would say.
    It is the published losses less what has no gradient; at e = e_old it is 0, its gradient A times that of
    |e - target|^2.

    Shape: e, e_old, e_ref, target (N, C, h, w); advantage, proximal (lambda), weight (w) and beta (N,) or numbers;
    result (N,). Gradients flow to e alone. Zheng et al. 2025 (DiffusionNFT, arXiv 2509.16117, eq. 5); Xue et al. 2025
    (AWM, arXiv 2509.25050).
    """
    e_old, over = e_old.detach(), (1, 2, 3)
    moved = e - e_old
    pull = ((e_old - target) * moved).mean(dim=over)
    loss = weight * (2 * advantage * pull + proximal * moved.square().mean(dim=over))
    if e_ref is not None:
        loss = loss + beta * (e - e_ref.detach()).square().mean(dim=over)
    return loss


class MatchingTerms(NamedTuple):
    """Hold what makes `matching_loss` a published one: advantage, proximal (lambda) and weight (w), each (N,)."""

    advantage: torch.Tensor
    proximal: torch.Tensor
    weight: torch.Tensor


def matching_terms(form: str, advantage: torch.Tensor, proximal: float) -> MatchingTerms:
    """Return the terms of a form of `matching_loss` by its name. Shape: advantage (N,).

    nft: r |e+ - y|^2 + (1 - r) |e- - y|^2 with e+- = e_old +- b (e - e_old), r = (A + 1) / 2 and b = `proximal`.
    awm: A |e - y|^2 + `proximal` |e - e_old|^2. regression: max(A, 0) |e - y|^2, which `proximal` has no part in.
    Raises ValueError for another name.
    """
    one = torch.ones_like(advantage)
    if form == "nft":
        return MatchingTerms(advantage, proximal * one, proximal * one)
    if form == "awm":
        return MatchingTerms(advantage, advantage + proximal, one)
    if form == "regression":
        positive = advantage.clamp(min=0)
        return MatchingTerms(positive, positive, one)
    raise ValueError(f"{form!r} is no form of the matching loss")


def denoising_error(output: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Compute |output - target|^2 as a mean over C, h, w, weighted by a mask where there is one.

    Shape: output, target (N, C, h, w); mask (N, 1, h, w), at least 0 and above it somewhere; result (N,). A mask of one
    value throughout changes nothing.
    """
    squares = (output - target).square()
    if mask is not None:
        squares = squares * (mask / mask.mean(dim=(1, 2, 3), keepdim=True))
    return squares.mean(dim=(1, 2, 3))


class PreferenceLoss(NamedTuple):
    """Hold what `preference_loss` gives for each of G groups, (G,).

    Attributes:
        loss: what is averaged and minimised; log 2 where the network is still the base.
        margin: the implicit reward of the better pictures over the worse, before beta; above 0 where the network
            prefers what people did.
    """

    loss: torch.Tensor
    margin: torch.Tensor


def preference_loss(
    error: torch.Tensor, error_ref: torch.Tensor, advantage: torch.Tensor, group: torch.Tensor, beta: float
) -> PreferenceLoss:
    """Compute Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908, eq. 14), and its form for groups.

    L = -log sigmoid(-(beta / 2) sum_i A_i (error_i - error_ref_i)), the sum over a group. With A = 1 for the better and
    -1 for the worse picture it is the paper's, beta T w(t) being beta / 2 as in its code; with more pictures and the
    A of their ranking it is direct group preference optimization (Luo et al. 2025, arXiv 2510.08425).
    The errors are |e - eps|^2 (`denoising_error`) at one timestep and noise for all pictures of a group.

    That sum falls too where both are denoised ever worse, the better one a little less so: pictures break while the
    loss looks good. `matching_loss` with e_old the base's output has the same gradient there, but for a factor, and
    holds each picture by itself.

    Shape: error, error_ref, advantage (N,); group (N,) numbers from 0 to G - 1; results (G,).
    """
    zeros = error.new_zeros(int(group.max()) + 1)
    moved = zeros.index_add(0, group, advantage * (error - error_ref))
    return PreferenceLoss(-F.logsigmoid(-0.5 * beta * moved), -moved.detach())

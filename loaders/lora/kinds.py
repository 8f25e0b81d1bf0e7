"""What each kind of LoRA makes of a weight. Pure functions, float32 tensors in and out.

Weights are (out, in[, kH, kW]); a change of one is (out, in * kH * kW), whatever the layer. `r` is the rank.
Sources: LoRA, Hu et al. 2021 (arXiv 2106.09685). LoHa and the Tucker forms, Yeh et al. 2023 (LyCORIS, arXiv
2309.14859). LoKr, the same. GLoRA, Chavan et al. 2023 (arXiv 2306.07967). (IA)^3, Liu et al. 2022 (arXiv 2205.05638).
OFT, Qiu et al. 2023 (arXiv 2306.07280). BOFT, Liu et al. 2023 (arXiv 2311.06243). DoRA, Liu et al. 2024 (arXiv
2402.09353). Where papers leave the layout open, it is that of the LyCORIS library (lycoris/modules/*.py).
"""

from __future__ import annotations

import torch
from torch import Tensor


def core_product(core: Tensor, b: Tensor) -> Tensor:
    """Return core b, one side of a Tucker form. Shape: core (r, r, kH, kW), b (r, in) to (r, in, kH, kW)."""
    return torch.einsum("ijhw,jc->ichw", core, b)


def tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return a^T core b, a convolution rebuilt from its Tucker factors.

    Shape: core (r, r, kH, kW), a (r, out), b (r, in) to (out, in * kH * kW).
    """
    return torch.einsum("ichw,io->ochw", core_product(core, b), a).flatten(1)


def kronecker(w1: Tensor, w2: Tensor) -> Tensor:
    """Return LoKr's change, w1 (x) w2.

    Shape: w1 (o1, i1), w2 (o2, i2[, kH, kW]) to (o1 * o2, i1 * i2 * kH * kW).
    """
    return torch.kron(w1, w2.flatten(1))


def glora(weight: Tensor, a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor) -> Tensor:
    """Return GLoRA's change, W a1 a2 + b1 b2, where a1 a2 acts on the input channels.

    Shape: a1 (in, r), a2 (r, in), b1 (out, r), b2 (r, in * kH * kW).
    """
    through = torch.einsum("oi...,ir,rj->oj...", weight, a1, a2)
    return through.flatten(1) + b1 @ b2


def scaled_channels(weight: Tensor, factors: Tensor, *, on_input: bool) -> Tensor:
    """Return (IA)^3's change, W times one factor for each input or output channel. Shape: factors (channels,)."""
    shape = (1, -1) if on_input else (-1, 1)
    return (weight * factors.reshape(*shape, *(1 for _ in weight.shape[2:]))).flatten(1)


def cayley(blocks: Tensor, limit: float) -> Tensor:
    """Return the rotations (I + Q)(I - Q)^-1 of the skew-symmetric Q = blocks - blocks^T.

    Shape: (..., b, b) to the same. With `limit` above 0 all of Q together is scaled down to that norm.
    """
    q = blocks - blocks.transpose(-1, -2)
    if limit > 0:
        norm = torch.linalg.vector_norm(q) + 1e-8
        q = q * (limit / norm).clamp(max=1.0)  # no look at the value: it may be on a GPU
    identity = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    return (identity + q) @ torch.linalg.inv(identity - q)


def rotated(weight: Tensor, rotations: Tensor) -> Tensor:
    """Return R^T W: OFT, which turns the output channels inside each of n blocks.

    Shape: weight (n * b, ...), rotations (n, b, b).
    """
    blocks = weight.unflatten(0, (len(rotations), -1))  # (n, b, ...)
    return torch.einsum("nbc,nb...->nc...", rotations, blocks).flatten(0, 1)


def butterfly(weight: Tensor, rotations: Tensor) -> Tensor:
    """Return BOFT's turned weight: stage i turns blocks of output channels that stand 2^i * b/2 apart.

    Shape: weight (n * b, ...), rotations (m stages, n, b, b).
    """
    width = rotations.shape[-1]
    for stage, blocks in enumerate(rotations):
        apart = 2**stage * width // 2
        mixed = weight.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2)  # partners side by side
        mixed = torch.einsum("nij,nj...->ni...", blocks, mixed.unflatten(0, (-1, width))).flatten(0, 1)
        weight = mixed.unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
    return weight


def decomposed(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Return DoRA's weight: the directions of `weight` with the trained magnitudes (eq. 5).

    Shape: weight (out, in[, kH, kW]); magnitude (out, 1) for each output channel or (1, in) for each input
    channel. The norm is that of the changed weight, as in the paper, LyCORIS, OneTrainer and peft.
    """
    over = tuple(d for d in range(weight.ndim) if d != (0 if magnitude.shape[1] == 1 else 1))
    norm = torch.linalg.vector_norm(weight, dim=over, keepdim=True) + torch.finfo(weight.dtype).eps
    return weight * (magnitude.reshape(*magnitude.shape[:2], *(1 for _ in weight.shape[2:])) / norm)

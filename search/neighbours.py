"""Steps around a noise that stay noise: local search of zero order (Ma et al. 2025, arXiv 2501.09732). Pure."""

from __future__ import annotations

import math

import torch


def neighbour(noise: torch.Tensor, fresh: torch.Tensor, angle: float) -> torch.Tensor:
    """Turn a unit noise by `angle` (radians) towards another one: cos noise + sin fresh, variance preserving.

    0 is the noise itself, pi/2 the other one. Shape: all (B, C, h, w).
    """
    if not angle:
        return noise
    return math.cos(angle) * noise + math.sin(angle) * fresh

"""One denoising step: its mean and standard deviation, the noise it draws, its log-probability.

Notation: `a_t` is alphas_cumprod at this timestep, `a_p` at the next one of the schedule (or the
final value past its end); x_t (B, C, H, W) is the noisy sample, e the noise in it, x0 the clean one.
Sampling and training use the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..loaders.folder.schedulers import PREDICTION_TYPES


class Coefficients(NamedTuple):
    """Noise levels of one step where the sample is sqrt(a) x0 + sqrt(1-a) noise.

    They are float32 numbers without dimensions on the CPU: their arithmetic then rounds as
    the references' does (early steps divide by a signal of 0.006, so the last bit shows), and no
    device is ever asked for a value.
    """

    a_t: torch.Tensor
    a_p: torch.Tensor
    prediction_type: str = "epsilon"
    clip_range: float | None = None  # clamp x0 to [-clip_range, clip_range]; None leaves it alone


class Sigmas(NamedTuple):
    """Noise levels of one step where the sample is x0 + sigma * noise.

    They are float32 numbers without dimensions on the CPU; sigma^2 = (1-a) / a.
    """

    sigma_t: torch.Tensor
    sigma_p: torch.Tensor
    prediction_type: str = "epsilon"


class Stepped(NamedTuple):
    """Result of a step: the sample at the next timestep and the predicted clean sample (x0), (B, C, H, W)."""

    sample: torch.Tensor
    x0: torch.Tensor


class StepDistribution(NamedTuple):
    """The Gaussian a step draws from, and the predicted clean sample (x0).

    Attributes:
        mean: (B, C, H, W) float32.
        std: standard deviation; 0 marks a step without noise, which has no log-probability.
        x0: (B, C, H, W) float32, the predicted clean sample.
    """

    mean: torch.Tensor
    std: float
    x0: torch.Tensor


def predict_x0(x_t: torch.Tensor, output: torch.Tensor, c: Coefficients) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x0, e) from a network's output. DDPM eq. 15 for epsilon; Salimans & Ho 2022, app. D, for v.

    Shape: x_t, output and both results (B, C, H, W). x0 is clipped if the schedule says so; e is not
    derived again from a clipped x0, as in diffusers.
    """
    signal, noise = c.a_t.sqrt(), (1 - c.a_t).sqrt()
    if c.prediction_type == "epsilon":
        x0, e = (x_t - noise * output) / signal, output
    elif c.prediction_type == "v_prediction":
        x0, e = signal * x_t - noise * output, signal * output + noise * x_t
    elif c.prediction_type == "sample":
        x0, e = output, (x_t - signal * output) / noise
    else:
        raise ValueError(f"prediction_type {c.prediction_type!r} is none of {PREDICTION_TYPES}")
    if c.clip_range is not None:
        x0 = x0.clamp(-c.clip_range, c.clip_range)
    return x0, e


def ddim_step(x_t: torch.Tensor, output: torch.Tensor, c: Coefficients, eta: float) -> StepDistribution:
    """Compute a DDIM step (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16).

    sigma^2 = eta^2 (1-a_p)/(1-a_t) (1 - a_t/a_p);  mean = sqrt(a_p) x0 + sqrt(1-a_p-sigma^2) e.
    """
    x0, e = predict_x0(x_t, output, c)
    std = eta * ((1 - c.a_p) / (1 - c.a_t) * (1 - c.a_t / c.a_p)).clamp(min=0).sqrt()
    direction = (1 - c.a_p - std**2).clamp(min=0).sqrt()
    return StepDistribution(c.a_p.sqrt() * x0 + direction * e, float(std), x0)


def ddpm_step(x_t: torch.Tensor, output: torch.Tensor, c: Coefficients, variance_type: str) -> StepDistribution:
    """Compute a DDPM step (Ho et al. 2020, arXiv 2006.11239, eq. 7), `fixed_small` or `fixed_large` variance.

    With alpha = a_t/a_p and beta = 1-alpha:
    mean = sqrt(a_p) beta/(1-a_t) x0 + sqrt(alpha) (1-a_p)/(1-a_t) x_t;
    variance = (1-a_p)/(1-a_t) beta (small, the posterior's) or beta (large).
    """
    x0, _ = predict_x0(x_t, output, c)
    alpha = c.a_t / c.a_p
    beta = 1 - alpha
    mean = c.a_p.sqrt() * beta / (1 - c.a_t) * x0 + alpha.sqrt() * (1 - c.a_p) / (1 - c.a_t) * x_t
    posterior = (1 - c.a_p) / (1 - c.a_t) * beta
    variance = beta if variance_type == "fixed_large" else posterior
    return StepDistribution(mean, float(variance.clamp(min=0).sqrt()), x0)


def euler_ancestral_step(x: torch.Tensor, output: torch.Tensor, c: Sigmas) -> StepDistribution:
    """Compute an ancestral Euler step (Song et al. 2021, arXiv 2011.13456, app. F; k-diffusion).

    sigma_up^2 = sigma_p^2 (sigma_t^2 - sigma_p^2) / sigma_t^2;  sigma_down^2 = sigma_p^2 - sigma_up^2;
    mean = x + (x - x0) / sigma_t (sigma_down - sigma_t);  std = sigma_up.
    x is x0 + sigma_t * noise, not what the network saw, and so is the mean: times sqrt(a_p) this is
    `ddim_step` with eta = 1. Raises ValueError for a network that predicts x0, as diffusers does.
    """
    sigma_t, sigma_p = c.sigma_t, c.sigma_p
    if c.prediction_type == "epsilon":
        x0 = x - sigma_t * output
    elif c.prediction_type == "v_prediction":
        x0 = output * (-sigma_t / (sigma_t**2 + 1).sqrt()) + x / (sigma_t**2 + 1)
    else:
        raise ValueError(f"prediction_type {c.prediction_type!r} is neither epsilon nor v_prediction")
    up = (sigma_p**2 * (sigma_t**2 - sigma_p**2) / sigma_t**2).clamp(min=0).sqrt()
    down = (sigma_p**2 - up**2).clamp(min=0).sqrt()
    return StepDistribution(x + (x - x0) / sigma_t * (down - sigma_t), float(up), x0)


def log_prob(x_p: torch.Tensor, mean: torch.Tensor, std: float) -> torch.Tensor:
    """Compute the log-density of x_p under N(mean, std^2), averaged over C, H, W (Black et al. 2023, sec. 4).

    Shape: x_p, mean (B, C, H, W); result (B,), float32. Raises ValueError for std 0: leave steps
    without noise out instead.
    """
    if std <= 0:
        raise ValueError("a step without noise (std 0) has no log-probability")
    squared = (x_p.float() - mean.float()) ** 2
    density = -squared / (2 * std**2) - math.log(std) - 0.5 * math.log(2 * math.pi)
    return density.mean(dim=(1, 2, 3))


class ImageNoise:
    """One random stream for each image of a batch: image i depends on its own seed alone, drawn on the CPU.

    The same seed gives the same noise at any place in a batch of any size, on any device. `states`
    lets a stream go on where another object left it.
    """

    def __init__(
        self, seeds: Sequence[int], shape: tuple[int, int, int], states: Sequence[torch.Tensor] | None = None
    ) -> None:
        self.seeds, self.shape = tuple(seeds), shape
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        for generator, state in zip(self.generators, states or (), strict=False):
            generator.set_state(state)

    def draw(self, device: torch.device) -> torch.Tensor:
        """Draw the next noise of every image: float32 (B, C, H, W)."""
        parts = [torch.randn((1, *self.shape), generator=g) for g in self.generators]
        return to_device(torch.cat(parts), device)

    def states(self) -> list[torch.Tensor]:
        """Return where each image's stream stands."""
        return [generator.get_state() for generator in self.generators]


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send a tensor from the CPU to the network's device; on CUDA through pinned memory, or the host would wait."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

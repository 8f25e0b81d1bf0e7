"""Where in a picture its score comes from: by the reward's own gradient, or by covering one place after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange, reduce

from ..core.memory import in_parts
from .reward import one_prompt_each

if TYPE_CHECKING:
    from .reward import Reward

_COPIES, _NOISE = 6, 0.08  # of SmoothGrad: noisy copies, and the standard deviation of their noise
_PLACES = 8  # along a side, where a reward has no gradient
_MOST_PIXELS = 2**23  # of noisy copies that are scored at once: 96 MB
_STRONGEST = 0.98  # the share of pixels that are below full heat


def heat_map(reward: Reward, images: torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
    """Compute where pictures' scores come from: (B, H, W) float32 in [0, 1] on the CPU, 1 where most.

    With a gradient: its square, averaged over noisy copies (SmoothGrad, Smilkov et al. 2017, arXiv 1706.03825; squared
    as Hooker et al. 2019, arXiv 1806.10758), and blurred. Without: how much the score changes where a square of the
    picture's mean colour covers it (Zeiler and Fergus 2013, arXiv 1311.2901), 64 scorings a picture.
    A picture whose score nothing changes is cold throughout. Shape: images (B, H, W, 3) in [0, 1].
    Raises as the reward.
    """
    heat = _by_gradient(reward, images, prompts) if reward.differentiable else _by_covering(reward, images, prompts)
    strongest = torch.quantile(heat.flatten(1), _STRONGEST, dim=1).view(-1, 1, 1)
    return torch.where(strongest > 0, heat / strongest.clamp(min=1e-30), torch.zeros_like(heat)).clamp(0, 1)


def _by_gradient(reward: Reward, images: torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
    texts = one_prompt_each(prompts, len(images))
    height, width = images.shape[1:3]

    def work(copies: slice) -> torch.Tensor:
        count = copies.stop - copies.start
        noise = torch.stack([_NOISE * _noise(n, images.shape) for n in range(copies.start, copies.stop)])
        leaf = rearrange(images.detach().cpu() + noise, "n b h w c -> (n b) h w c").clamp(0, 1).requires_grad_()
        reward.with_gradient(leaf, texts * count).sum().backward()
        assert leaf.grad is not None
        return reduce(leaf.grad.square(), "(n b) h w c -> b h w", "sum", n=count)

    with torch.inference_mode(False), torch.enable_grad():  # a host may run this inside it
        at_once = max(1, min(_COPIES, _MOST_PIXELS // images[..., 0].numel()))
        each = f"one copy of {width} x {height}"
        parts = in_parts(_COPIES, at_once, work, what=f"a heat map by {reward.name}", each=each)
        return _blurred(torch.stack(list(parts)).sum(0))


def _noise(copy: int, shape: Sequence[int]) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(copy))


def _by_covering(reward: Reward, images: torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
    (count, height, width), mean = images.shape[:3], images.mean(dim=(1, 2), keepdim=True)
    before = reward(images, prompts)
    rows = torch.linspace(0, height, _PLACES + 1).round().int().tolist()
    columns = torch.linspace(0, width, _PLACES + 1).round().int().tolist()
    heat = torch.zeros(count, height, width)
    for top, bottom in zip(rows, rows[1:], strict=False):
        for left, right in zip(columns, columns[1:], strict=False):
            covered = images.clone()
            covered[:, top:bottom, left:right] = mean
            change = (reward(covered, prompts) - before).abs()
            heat[:, top:bottom, left:right] = change.view(-1, 1, 1)
    return _blurred(heat)


def _blurred(heat: torch.Tensor) -> torch.Tensor:
    """Average over a sixteenth of the shorter side, twice. Shape: (B, H, W)."""
    side = max(1, min(heat.shape[1:]) // 16) | 1
    blurred = heat[:, None]
    for _ in range(2):
        for window in ((side, 1), (1, side)):  # one after the other: the same mean for a fraction of the work
            around = (window[0] // 2, window[1] // 2)
            blurred = F.avg_pool2d(blurred, window, stride=1, padding=around, count_include_pad=False)
    return blurred[:, 0]

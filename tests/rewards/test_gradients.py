"""Gradients reach the pixels: against finite differences, on small models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tastemaker.loaders import InputError
from tastemaker.rewards import Statistics, combine, custom, load_reward
from tests.rewards.official_files import aesthetic_folder, clip_folder, imagereward_folder, small_clip

PROMPT = "a photo of a cat"


def _imagereward(folder: Path):
    return load_reward("imagereward-v1.0", source=imagereward_folder(folder))


def _clip(name: str, place: str):
    def load(folder: Path):
        return load_reward(name, source=clip_folder(folder / place, *small_clip()))

    return load


def _aesthetic(folder: Path):
    return load_reward("aesthetic-v2", source=aesthetic_folder(folder, *small_clip(projection_dim=768)))


LOADERS = {
    "imagereward-v1.0": _imagereward,
    "clip-score": _clip("clip-score", "clip-vit-large-patch14"),
    "pickscore-v1": _clip("pickscore-v1", "PickScore_v1"),
    "aesthetic-v2": _aesthetic,
    "tiny-imagereward": lambda folder: load_reward("tiny-imagereward"),
}


@pytest.mark.parametrize("name", LOADERS)
def test_gradients_equal_finite_differences(tmp_path: Path, name: str) -> None:
    """To 1e-3, with towers in float64: what is left is that scores, and the aesthetic head, are float32."""
    reward = LOADERS[name](tmp_path)
    assert reward.differentiable
    network = reward.modules["network"]
    dict(network.named_children()).get("clip", network).double()
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(1, 240, 260, 3, generator=rng, dtype=torch.float64) * 0.8 + 0.1
    image.requires_grad_()
    (gradient,) = torch.autograd.grad(reward.gradient_score(image, [PROMPT]).sum(), image)
    assert torch.isfinite(gradient).all()
    # along the gradient itself, where float32 tells the slope from its rounding
    direction = gradient / gradient.norm()
    slope = float((gradient * direction).sum())
    step = 0.005
    with torch.no_grad():
        ends = [float(reward.gradient_score(image + sign * step * direction, [PROMPT])) for sign in (1, -1)]
    assert slope > 0
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("name", LOADERS)
def test_the_soft_score_is_near_the_exact_one(tmp_path: Path, name: str) -> None:
    reward = LOADERS[name](tmp_path)
    ramp = torch.linspace(0, 1, 300).view(1, 1, 300, 1).expand(1, 260, 300, 3)
    smooth = torch.cat([ramp, ramp.flip(2), ramp**3, ramp * torch.tensor([1.0, 0.2, 0.0])])
    exact, soft = reward(smooth, PROMPT), reward.with_gradient(smooth, PROMPT)
    assert not exact.requires_grad
    assert (soft - exact).abs().max() <= 0.05 * (exact.max() - exact.min())  # of what tells these pictures apart


def test_no_weight_gets_a_gradient(tmp_path: Path) -> None:
    reward = _imagereward(tmp_path)
    image = torch.rand(1, 64, 64, 3, requires_grad=True)
    reward.with_gradient(image, PROMPT).sum().backward()
    assert all(p.grad is None for p in reward.modules["network"].parameters())


def test_inside_inference_mode_too(tmp_path: Path) -> None:
    reward = _imagereward(tmp_path)
    with torch.inference_mode():
        given = torch.rand(1, 64, 64, 3)
        score = reward.with_gradient(given, PROMPT)
    assert torch.isfinite(score).all()


def test_a_combined_reward_has_its_parts_gradients() -> None:
    red = custom("red", lambda images, prompts: images[..., 0].mean((1, 2)), differentiable=True)
    blue = custom("blue", lambda images, prompts: images[..., 2].mean((1, 2)), differentiable=True)
    known = {"red": Statistics(0.5, 0.5, "made up"), "blue": Statistics(0.0, 2.0, "made up")}
    both = combine([(red, 1.0), (blue, -1.0)], statistics=known)
    image = torch.rand(1, 2, 2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(both.with_gradient(image, "").sum(), image)
    # a mean over 4 pixels: 1/4 each, over the standard deviation, times the weight
    assert gradient[..., 0].flatten().tolist() == pytest.approx([0.5] * 4)
    assert gradient[..., 1].abs().max() == 0
    assert gradient[..., 2].flatten().tolist() == pytest.approx([-0.125] * 4)
    with pytest.raises(InputError, match="no gradients"):
        combine([(red, 1.0), (blue, 1.0)], mode="ranks").with_gradient(image, "")

"""The loss of preferences as mathematics: the published formula, its value at the start, its symmetry, its mask."""

from __future__ import annotations

import math

import pytest
import torch

from tastemaker.training.algorithms.losses import denoising_error, preference_loss

SHAPE = (4, 8, 8)


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_pair_by_hand() -> None:
    """beta 4, errors .5 and .2 where the base has .6 and .1: z = 2 (-.1 - .1) = -.4 and L = log(1 + e^-.4)."""
    error, ref = torch.tensor([0.5, 0.2]).double(), torch.tensor([0.6, 0.1]).double()
    found = preference_loss(error, ref, torch.tensor([1.0, -1.0]).double(), torch.tensor([0, 0]), beta=4.0)
    assert found.loss.item() == pytest.approx(math.log1p(math.exp(-0.4)), abs=1e-7)
    assert found.margin.item() == pytest.approx(0.2, abs=1e-7)


def test_it_is_log_2_where_nothing_has_moved_and_halves_are_pulled_alike() -> None:
    error = torch.rand(6, dtype=torch.float64).requires_grad_()
    advantage = torch.tensor([1.0, -1.0] * 3).double()
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = preference_loss(error, error.detach(), advantage, group, beta=500.0).loss
    assert loss.tolist() == [math.log(2)] * 3
    (gradient,) = torch.autograd.grad(loss.sum(), error)
    torch.testing.assert_close(gradient, advantage * 500 / 4, rtol=1e-12, atol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_the_published_formula(masked: bool) -> None:
    """Of diffusers' train_diffusion_dpo_sdxl.py, -logsigmoid(-beta/2 (model_diff - ref_diff)), and by hand."""
    e = drawn(4, 1).requires_grad_()
    ref, target = drawn(4, 2), drawn(2, 3).repeat_interleave(2, 0)
    beta = 30.0
    mask = torch.rand(2, 1, 8, 8, dtype=torch.float64).repeat_interleave(2, 0) if masked else None
    weight = torch.ones(4, 1, 8, 8, dtype=torch.float64) if mask is None else mask / mask.mean((1, 2, 3), keepdim=True)
    ours = preference_loss(
        denoising_error(e, target, mask),
        denoising_error(ref, target, mask),
        torch.tensor([1.0, -1.0] * 2).double(),
        torch.tensor([0, 0, 1, 1]),
        beta,
    ).loss.mean()
    (found,) = torch.autograd.grad(ours, e)

    model = (weight * (e - target) ** 2).mean((1, 2, 3))
    base = (weight * (ref - target) ** 2).mean((1, 2, 3))
    inside = -0.5 * beta * ((model[0::2] - model[1::2]) - (base[0::2] - base[1::2]))
    published = -torch.nn.functional.logsigmoid(inside).mean()
    (expected,) = torch.autograd.grad(published, e)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    by_hand = torch.sigmoid(-inside).repeat_interleave(2) * torch.tensor([1.0, -1.0] * 2) * beta / 2 / 2
    slope = 2 * weight * (e - target) / math.prod(SHAPE)
    torch.testing.assert_close(found, by_hand.view(-1, 1, 1, 1) * slope, rtol=1e-12, atol=1e-12)


def test_swapped_labels_mirror() -> None:
    error, ref = torch.rand(2, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    one, other = (
        preference_loss(error, ref, sign * torch.tensor([1.0, -1.0]).double(), torch.tensor([0, 0]), 10.0)
        for sign in (1, -1)
    )
    assert one.margin.item() == -other.margin.item()
    # sigmoid(z) + sigmoid(-z) = 1
    assert (-one.loss).exp().item() + (-other.loss).exp().item() == pytest.approx(1.0, abs=1e-12)


def test_a_group_pulls_by_its_advantages_under_one_sigmoid() -> None:
    """Three pictures: dL/d error_i = sigmoid(z) (beta / 2) A_i with z = (beta / 2) sum A_i (error_i - ref_i)."""
    error = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64).requires_grad_()
    ref = torch.tensor([0.4, 0.4, 0.7], dtype=torch.float64)
    advantage = torch.tensor([1.2, 0.1, -1.3], dtype=torch.float64)
    loss = preference_loss(error, ref, advantage, torch.tensor([0, 0, 0]), 6.0).loss
    (gradient,) = torch.autograd.grad(loss.sum(), error)
    z = 3 * (1.2 * -0.1 + 0.1 * 0.1 - 1.3 * 0.2)
    expected = advantage * 3 / (1 + math.exp(-z))
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_a_mask_weighs_and_one_value_throughout_changes_nothing() -> None:
    output, target = drawn(2, 4), drawn(2, 5)
    even = torch.full((2, 1, 8, 8), 0.25, dtype=torch.float64)
    whole = denoising_error(output, target)
    torch.testing.assert_close(denoising_error(output, target, even), whole, rtol=1e-12, atol=0)
    left = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    left[..., :4] = 1
    half = (output - target)[..., :4].square().mean((1, 2, 3))
    torch.testing.assert_close(denoising_error(output, target, left), half, rtol=1e-12, atol=0)

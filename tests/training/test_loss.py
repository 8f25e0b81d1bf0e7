"""The losses against numbers derived by hand, and the gradient against the analytic one."""

from __future__ import annotations

import math

import pytest
import torch

from tastemaker.sampling.steps import StepDistribution, log_prob
from tastemaker.training.algorithms.losses import clipped_loss, kl_to_base, scaled_clip_range, score_loss
from tastemaker.training.algorithms.policy import transition


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_clipped_loss_by_hand() -> None:
    # ratios 1.5, 1.5, 0.5, 0.5, advantages 1, -1, 1, -1, range 0.2:
    # max(-1.5, -1.2) = -1.2 held; max(1.5, 1.2) = 1.5; max(-0.5, -0.8) = -0.5; max(0.5, 0.8) = 0.8 held
    now = numbers(1.5, 1.5, 0.5, 0.5).log()
    found = clipped_loss(now, torch.zeros(4, dtype=torch.float64), numbers(1, -1, 1, -1), 0.2)
    assert found.loss.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8])
    assert found.ratio.tolist() == pytest.approx([1.5, 1.5, 0.5, 0.5])
    assert found.clipped.tolist() == [True, False, False, True]


def test_a_clipped_pair_has_no_gradient_and_a_free_one_has_the_policy_gradient() -> None:
    # d(-A exp(l - old)) / dl = -A r: at r = 1 that of the score form
    now = numbers(0.5, 0.0).requires_grad_()
    clipped_loss(now, torch.zeros(2, dtype=torch.float64), numbers(2.0, 2.0), 0.1).loss.sum().backward()
    assert now.grad.tolist() == [0.0, -2.0]
    score = numbers(0.5, 0.0).requires_grad_()
    score_loss(score, torch.zeros(2, dtype=torch.float64), numbers(2.0, 2.0)).loss.sum().backward()
    assert score.grad.tolist() == [-2.0, -2.0]


def test_the_clip_range_is_the_same_trust_region_at_every_size() -> None:
    # the divergence at which it binds, (c D)^2 / 2, is 1.34 nats at 512 px and stays so
    for elements in (1024, 16_384, 65_536, 196_608):
        c = scaled_clip_range(1e-4, elements)
        assert (c * elements) ** 2 / 2 == pytest.approx(1.342, abs=1e-3)
    assert scaled_clip_range(1e-4, 65_536) == pytest.approx(2.5e-5)


def test_kl_to_base_is_that_of_two_normals() -> None:
    one, other = torch.randn(3, 2, 4, 4, dtype=torch.float64), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    std = numbers(0.1, 0.7, 2.0)
    stds = std.view(3, 1, 1, 1).expand_as(one)
    normals = [torch.distributions.Normal(mean, stds) for mean in (one, other)]
    want = torch.distributions.kl_divergence(*normals).mean(dim=(1, 2, 3))
    torch.testing.assert_close(kl_to_base(one, other, std), want)


class LinearPolicy:
    """x' ~ N(theta x, std^2): a network of one number, and its schedule."""

    def __init__(self, theta: float, std: float) -> None:
        self.theta, self.std = torch.tensor(theta, dtype=torch.float64, requires_grad=True), std
        self.timesteps = (900, 500)

    def predict(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.theta * x

    def network_input(self, index: int, x: torch.Tensor) -> torch.Tensor:
        return x

    def distribution(self, index: int, x: torch.Tensor, output: torch.Tensor) -> StepDistribution:
        return StepDistribution(output, self.std * (index + 1), output)


def test_the_gradient_of_a_batch_is_the_analytic_one() -> None:
    """d/dtheta mean_D[-(x' - theta x)^2 / 2s^2] = mean_D[(x' - theta x) x] / s^2, with s of each pair's own step."""
    policy = LinearPolicy(0.5, 0.3)
    draw = torch.Generator().manual_seed(1)
    x, after = (torch.randn(4, 3, 2, 2, generator=draw, dtype=torch.float64) for _ in range(2))
    advantage, steps = numbers(1.0, -2.0, 0.5, 3.0), [0, 0, 1, 1]
    now = transition(policy, policy, x, after, steps)
    score_loss(now.log_prob, now.log_prob.detach(), advantage).loss.mean().backward()
    s = numbers(0.3, 0.3, 0.6, 0.6)
    slope = ((after - 0.5 * x) * x).mean(dim=(1, 2, 3)) / s**2
    # log_prob is float32 by its contract
    assert policy.theta.grad.item() == pytest.approx(-(advantage * slope).mean().item(), rel=1e-5)


def test_the_score_form_finds_the_gradient_of_the_expected_reward() -> None:
    """x = 1, reward -x'^2: E = -(theta^2 + s^2), so dE/dtheta = -2 theta = -1, by 400,000 draws."""
    policy = LinearPolicy(0.5, 0.3)
    after = 0.5 + 0.3 * torch.randn(400_000, 1, 1, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    reward = -(after.flatten() ** 2)
    now = transition(policy, policy, torch.ones_like(after), after, [0] * len(after))
    score_loss(now.log_prob, now.log_prob.detach(), reward - reward.mean()).loss.mean().backward()
    # standard error: std(r s'/s) / sqrt(n) < 0.005
    assert -policy.theta.grad.item() == pytest.approx(-1.0, abs=0.02)


def test_log_probabilities_are_those_of_normals_at_every_step_of_a_batch() -> None:
    policy = LinearPolicy(0.9, 0.2)
    draw = torch.Generator().manual_seed(3)
    x, after = (torch.randn(3, 4, 2, 2, generator=draw) for _ in range(2))
    found = transition(policy, policy, x, after, [0, 1, 1])
    for row, step in enumerate([0, 1, 1]):
        normal = torch.distributions.Normal(0.9 * x[row], 0.2 * (step + 1))
        assert found.log_prob[row].item() == pytest.approx(normal.log_prob(after[row]).mean().item(), rel=1e-5)
    assert found.std.tolist() == pytest.approx([0.2, 0.4, 0.4])
    assert log_prob(after[:1], 0.9 * x[:1], 0.2).item() == pytest.approx(found.log_prob[0].item(), rel=1e-6)
    assert math.isfinite(found.log_prob.sum().item())

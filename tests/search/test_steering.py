"""Particle steering and the drafts' guide against what can be worked out: tilted mixtures, hand values, two points."""

from __future__ import annotations

import math

import pytest
import torch

from tastemaker.search.comparison import best_of, best_of_normal, equal_cost
from tastemaker.search.guide import draft_guide, guided_output
from tastemaker.search.neighbours import neighbour
from tastemaker.search.steering import (
    adaptive_share,
    effective_sample_size,
    first_reward,
    log_potential,
    normalised,
    remembered,
    systematic,
)

MEANS, WEIGHTS, SPREAD = torch.tensor([-1.5, 1.0], dtype=torch.float64), (0.7, 0.3), 0.4  # a mixture of two Gaussians
TILT = 1.2  # the reward is x itself, so the tilted law is a mixture too


def tilted_moments() -> tuple[float, float]:
    """Mean and variance of p(x) exp(TILT x): weights times exp(TILT m + TILT^2 v / 2), means plus TILT v."""
    variance = SPREAD**2
    weights = torch.tensor(WEIGHTS, dtype=torch.float64) * (TILT * MEANS + TILT**2 * variance / 2).exp()
    weights, means = weights / weights.sum(), MEANS + TILT * variance
    mean = float((weights * means).sum())
    return mean, float((weights * (means**2 + variance)).sum()) - mean**2


def posterior(x: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Of x = sqrt(a) x0 + sqrt(1-a) noise: each component's share, its mean of x0, and the variance of x0 in it."""
    a, s2 = math.sqrt(level), 1 - level
    total = level * SPREAD**2 + s2
    log_shares = torch.tensor(WEIGHTS).double().log() - (x[:, None] - a * MEANS) ** 2 / (2 * total)
    gain = a * SPREAD**2 / total
    return torch.softmax(log_shares, 1), MEANS + gain * (x[:, None] - a * MEANS), SPREAD**2 * s2 / total


@pytest.mark.parametrize("potential", ["difference", "max"])
@pytest.mark.parametrize("temperature", ["fixed", "adaptive"])
def test_steering_draws_from_the_tilted_law(potential: str, temperature: str) -> None:
    """An exact sampler, one step x_t -> x0 ~ p(x0 | x_t) -> x_s after the other, and steering as the search does it.

    The max potential is no telescope: exp(strength * best of the path) tilts by more than the last reward, so what is
    asked of it is that the last weight puts it right.
    """
    generator = torch.Generator().manual_seed(4)
    count, levels = 20_000, [0.02, 0.2, 0.5, 0.8, 0.98]
    x = torch.randn(count, generator=generator, dtype=torch.float64)
    level, weights, before = 0.0, torch.zeros(count, dtype=torch.float64), None
    carried = torch.zeros(count, dtype=torch.float64)  # log of all the potentials along each path
    for following in levels:
        shares, means, variance = posterior(x, level)
        reward = (shares * means).sum(1)  # of the predicted x0
        before = first_reward(reward) if before is None else before
        gained = log_potential(reward, before, TILT, potential)
        if temperature == "adaptive":
            gained = gained * adaptive_share(gained, weights, 0.5)
        weights, carried, before = weights + gained, carried + gained, remembered(reward, before, potential)
        if effective_sample_size(weights) < 0.5 * count or temperature == "adaptive":
            ancestors = systematic(normalised(weights), float(torch.rand((), generator=generator)))
            x, before, carried = x[ancestors], before[ancestors], carried[ancestors]
            weights = torch.zeros_like(weights)
            shares, means = shares[ancestors], means[ancestors]
        component = torch.multinomial(shares, 1, generator=generator)
        x0 = means.gather(1, component)[:, 0] + variance**0.5 * torch.randn(count, generator=generator).double()
        # x_s given x0 and x_t: the process runs from clean to noisy, so s stands between them
        a, b = math.sqrt(following), math.sqrt(level / following)
        noise = (1 - following) * (1 - level / following) / (1 - level)
        mean = a * (1 - level / following) / (1 - level) * x0 + b * (1 - following) / (1 - level) * x
        x, level = mean + math.sqrt(noise) * torch.randn(count, generator=generator).double(), following
    shares, means, variance = posterior(x, level)
    component = torch.multinomial(shares, 1, generator=generator)
    x0 = means.gather(1, component)[:, 0] + variance**0.5 * torch.randn(count, generator=generator).double()
    weights = weights + TILT * x0 - carried
    shares = normalised(weights)
    mean = float((shares * x0).sum())
    second = (x0 - mean) ** 2
    size = effective_sample_size(weights) / 2  # resampled particles are relatives: half as many, to be careful
    wanted_mean, wanted_variance = tilted_moments()
    assert abs(mean - wanted_mean) < 3 * math.sqrt(wanted_variance / size)
    error = float((shares * (second - wanted_variance) ** 2).sum()) ** 0.5
    assert abs(float((shares * second).sum()) - wanted_variance) < 3 * error / math.sqrt(size)


def test_potentials_by_hand() -> None:
    now, before = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.5, 2.0, 3.0])
    assert log_potential(now, before, 2.0, "difference").tolist() == [1.0, -4.0, 0.0]
    assert log_potential(now, before, 2.0, "max").tolist() == [1.0, 0.0, 0.0]
    assert remembered(now, before, "max").tolist() == [1.0, 2.0, 3.0]
    assert first_reward(torch.tensor([-1.0, 2.0])).tolist() == [-1.0, -1.0]
    with pytest.raises(ValueError, match="none of"):
        log_potential(now, before, 2.0, "sum")


def test_the_effective_sample_size_by_hand() -> None:
    assert effective_sample_size(torch.zeros(8)) == pytest.approx(8)
    assert effective_sample_size(torch.tensor([0.0, -1000.0, -1000.0])) == pytest.approx(1)
    assert effective_sample_size(torch.tensor([0.75, 0.25]).log()) == pytest.approx(1 / (0.75**2 + 0.25**2))


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.999])
def test_systematic_resampling_gives_each_floor_or_ceil_and_leaves_survivors_in_place(offset: float) -> None:
    weights = torch.tensor([0.5, 0.05, 0.3, 0.15], dtype=torch.float64)
    ancestors = systematic(weights, offset)
    for i, weight in enumerate(weights.tolist()):
        assert math.floor(4 * weight) <= ancestors.count(i) <= math.ceil(4 * weight)
        assert (i in ancestors) == (ancestors[i] == i)


def test_equal_weights_change_nothing() -> None:
    for count in (1, 2, 7, 16):
        assert systematic(torch.full((count,), 1 / count), 0.5) == list(range(count))


def test_systematic_resampling_is_unbiased() -> None:
    weights = torch.tensor([0.5, 0.07, 0.3, 0.13], dtype=torch.float64)
    offsets = [(i + 0.5) / 1000 for i in range(1000)]
    counts = torch.tensor([[systematic(weights, o).count(i) for i in range(4)] for o in offsets]).double()
    assert torch.allclose(counts.mean(0), 4 * weights, atol=2e-3)


def test_the_adaptive_share_leaves_just_enough() -> None:
    gained = torch.arange(8.0) * 3
    share = adaptive_share(gained, torch.zeros(8), 0.5)
    assert 0 < share < 1
    assert effective_sample_size(share * gained) == pytest.approx(4, abs=1e-6)
    assert adaptive_share(gained * 1e-3, torch.zeros(8), 0.5) == 1.0
    assert adaptive_share(gained, gained, 0.5) == 0.0


def test_the_guide_is_the_difference_of_scores_for_two_points() -> None:
    """Drafts at -1 and 1 with rewards 0 and 1: p_t is a mixture of two Gaussians, whose score autograd takes."""
    a, s, strength = 0.8, 0.6, 2.5
    points, rewards = torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.0, 1.0]).double()
    x = torch.linspace(-2, 2, 9).double().requires_grad_()

    def log_density(weights: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(weights.log() - (x[:, None] - a * points) ** 2 / (2 * s**2), 1)

    tilted = torch.softmax(strength * rewards, 0)
    (wanted,) = torch.autograd.grad((log_density(tilted) - log_density(torch.tensor([0.5, 0.5]))).sum(), x)
    found = draft_guide(x.detach().reshape(9, 1, 1, 1), points.reshape(2, 1, 1, 1), rewards, a, s, strength)
    assert torch.allclose(found.flatten(), wanted, atol=1e-12)


def test_equal_rewards_or_one_draft_do_not_pull() -> None:
    x, drafts = torch.randn(3, 4, 2, 2), torch.randn(5, 4, 2, 2)
    assert draft_guide(x, drafts, torch.full((5,), 7.0), 0.5, 0.9, 4.0).abs().max() < 1e-12
    assert draft_guide(x, drafts[:1], torch.tensor([7.0]), 0.5, 0.9, 4.0).abs().max() == 0


def test_the_guide_moves_x0_alike_whatever_the_network_predicts() -> None:
    x, x0, guide, a, s = torch.tensor(0.3), torch.tensor(0.7), torch.tensor(0.4), 0.8, 0.6
    e = (x - a * x0) / s
    moved = guided_output(e, guide, a, s, 2.0, "epsilon")
    wanted = (x - s * moved) / a
    assert torch.isclose(guided_output(x0, guide, a, s, 2.0, "sample"), wanted)
    v = guided_output(a * e - s * x0, guide, a, s, 2.0, "v_prediction")
    assert torch.isclose(a * x - s * v, wanted)


def test_a_step_around_a_noise_stays_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    noise, fresh = torch.randn(2, 200_000, generator=generator)
    moved = neighbour(noise, fresh, 0.4)
    assert float(moved.var()) == pytest.approx(1, abs=0.01)
    assert float((moved * noise).mean()) == pytest.approx(math.cos(0.4), abs=0.01)
    assert neighbour(noise, fresh, 0.0) is noise


def test_the_best_of_so_many_is_the_mean_over_all_subsets() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0])
    assert best_of(scores, 1) == pytest.approx(2)
    assert best_of(scores, 2) == pytest.approx((3 + 3 + 2) / 3)
    assert best_of(scores, 3) == pytest.approx(3)
    with pytest.raises(ValueError, match="best of 4"):
        best_of(scores, 4)


def test_equal_cost_says_how_it_is_known() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0])
    assert equal_cost(scores, 5, 5, None) == (9.0, 9.0, 5, "from its own pictures")
    assert equal_cost(scores, 4, 8, None).baseline == pytest.approx(best_of_normal(scores[:4], 8))
    assert equal_cost(scores, 0, 8, None) == (9.0, None, 8, "not known")
    assert equal_cost(scores, 0, 2, torch.tensor([5.0, 4.0])) == (9.0, 5.0, 2, "measured")

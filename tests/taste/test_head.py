"""The head: its slopes, its mode against scipy's optimiser, its posterior against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tastemaker.taste.head import (
    choose_scale,
    expected_agreement,
    fit,
    log_likelihood,
    prior,
    self_agreement,
    stack_grids,
)
from tastemaker.taste.questions import information_gain, most_telling_grid

PAIRS = 40


def _pairs(seed: int):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((PAIRS, 2, 3))
    weights = np.array([1.0, -2.0, 0.5])
    picked = (features @ weights + rng.gumbel(size=(PAIRS, 2))).argmax(1)
    return features, picked


def test_two_answers_by_hand() -> None:
    # one feature, pairs with differences 1 and 1: l = -2 log(1 + e^-w), so w solves 2 / (1 + e^w) = w
    grids = stack_grids([np.array([[1.0], [0.0]])] * 2, [0, 0], 1)
    found = fit(grids, np.zeros(1), np.ones(1))
    w = found.mean[0]
    assert w == pytest.approx(2 / (1 + np.exp(w)), abs=1e-9)
    p = 1 / (1 + np.exp(-w))
    assert found.covariance[0, 0] == pytest.approx(1 / (2 * p * (1 - p) + 1), abs=1e-9)


def test_the_mode_of_pairs_is_logistic_regression() -> None:
    features, picked = _pairs(0)
    found = fit(stack_grids(list(features), picked, 3), np.zeros(3), np.ones(3))
    differences = features[np.arange(PAIRS), picked] - features[np.arange(PAIRS), 1 - picked]

    def objective(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -differences @ w).sum() + 0.5 * w @ w)

    def slope(w: np.ndarray) -> np.ndarray:
        return -(differences.T @ (1 / (1 + np.exp(differences @ w)))) + w

    other = minimize(objective, np.zeros(3), jac=slope, method="BFGS", options={"gtol": 1e-10})
    assert np.abs(found.mean - other.x).max() < 1e-6


def test_a_grid_of_any_size_is_as_likely_as_the_formula_says() -> None:
    grids = stack_grids([np.eye(3), np.eye(3)[:2]], [2, 0], 3)
    w = np.array([0.1, 0.2, 0.3])
    expected = 0.3 - np.log(np.exp(w).sum()) + 0.1 - np.log(np.exp(w[:2]).sum())
    assert log_likelihood(w, grids) == pytest.approx(expected, abs=1e-12)


def test_the_posterior_in_two_dimensions_is_the_integral() -> None:
    rng = np.random.default_rng(3)
    features = [0.5 * rng.standard_normal((6, 2)) for _ in range(1500)]
    true = np.array([0.6, -0.4])
    picked = [int((one @ true + rng.gumbel(size=6)).argmax()) for one in features]
    grids = stack_grids(features, picked, 2)
    found = fit(grids, np.array([1.0, 0.0]), np.ones(2))
    spread = np.sqrt(np.diag(found.covariance))
    axes = [np.linspace(m - 6 * s, m + 6 * s, 41) for m, s in zip(found.mean, spread, strict=True)]
    points = np.array([(x, y) for x in axes[0] for y in axes[1]])
    prior = -0.5 * ((points - [1.0, 0.0]) ** 2).sum(1)
    logs = np.array([log_likelihood(w, grids) for w in points]) + prior
    share = np.exp(logs - logs.max())
    share /= share.sum()
    mean = share @ points
    covariance = (points - mean).T @ ((points - mean) * share[:, None])
    assert np.abs(mean - found.mean).max() < 1e-3
    assert np.abs(covariance - found.covariance).max() < 1e-3


def test_contradicting_answers_leave_the_prior() -> None:
    pair = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = fit(stack_grids([pair, pair], [0, 1], 2), np.zeros(2), np.ones(2))
    assert np.abs(found.mean).max() < 1e-9


def test_answers_without_a_difference_and_none_at_all_leave_the_prior() -> None:
    mean = np.array([0.0, 1.0])
    same = stack_grids([np.ones((6, 2))] * 5, [0] * 5, 2)
    for grids in (same, stack_grids([], [], 2)):
        found = fit(grids, mean, np.full(2, 4.0))
        assert np.allclose(found.mean, mean)
        assert np.allclose(found.covariance, np.eye(2) / 4)


def test_the_prior_expects_the_crowd_to_be_right_in_the_main() -> None:
    found = prior(5, 2, 0.5)
    assert found.mean.tolist() == [0, 0, 0, 0.75, 0.75]  # 1.5 shared by two rewards
    assert found.precision.tolist() == [4, 4, 4, 1, 1]
    assert prior(2, 0, 0.5).mean.tolist() == [0, 0]


def test_somebody_sure_of_a_feature_gets_a_wider_prior_than_somebody_who_is_not() -> None:
    rng = np.random.default_rng(0)

    def scale(sureness: float) -> float:
        features = [rng.standard_normal((6, 4)) for _ in range(120)]
        picked = [int((sureness * one[:, 0] + rng.gumbel(size=6)).argmax()) for one in features]
        return choose_scale(stack_grids(features, picked, 4), 4, 0)

    assert choose_scale(stack_grids([], [], 4), 4, 0) == 0.45
    assert scale(0.0) < 0.45 < scale(4.0)


def test_huge_features_stay_finite() -> None:
    found = fit(stack_grids([np.array([[1e4, 0.0], [0.0, 1e4]])] * 30, [0] * 30, 2), np.zeros(2), np.ones(2))
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.factor).all()


def test_draws_have_the_posteriors_mean_and_covariance() -> None:
    features, picked = _pairs(1)
    found = fit(stack_grids(list(features), picked, 3), np.zeros(3), np.ones(3))
    draws = found.draws(40_000, np.random.default_rng(0))
    assert np.abs(draws.mean(0) - found.mean).max() < 0.02
    assert np.abs(np.cov(draws.T) - found.covariance).max() < 0.02


def test_information_gain_by_hand() -> None:
    # two draws that agree tell nothing; two that are sure of opposite pictures tell one bit
    assert information_gain(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0, 1]]))[0] == pytest.approx(0, abs=1e-9)
    sure = np.array([[50.0, 0.0], [0.0, 50.0]])
    assert information_gain(sure, np.array([[0, 1]]))[0] == pytest.approx(np.log(2), abs=1e-9)


def test_the_chosen_grid_tells_more_than_random_ones() -> None:
    rng = np.random.default_rng(0)
    utilities = rng.standard_normal((100, 5)) @ rng.standard_normal((5, 64))
    grid = most_telling_grid(utilities, 6, np.random.default_rng(1))
    assert len(set(grid.tolist())) == 6
    others = np.array([rng.choice(100, 6, replace=False) for _ in range(300)])
    assert information_gain(utilities, grid[None])[0] > information_gain(utilities, others).max()


def test_agreement_by_hand() -> None:
    # log-odds of log 4: the likelier answer comes 80% of the time, and twice the same .64 + .04
    draws, differences = np.array([[np.log(4.0)]]), np.array([[1.0], [-1.0]])
    assert expected_agreement(draws, np.ones(1), differences)[0] == pytest.approx(0.8)
    assert self_agreement(draws, differences)[0] == pytest.approx(0.68)

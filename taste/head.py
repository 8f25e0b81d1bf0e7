"""The head: which picture of a grid one person picks, by a linear utility of features. Plackett-Luce with a prior.

P(c picked of G) = exp(w . phi_c) / sum over G of exp(w . phi_j), w ~ N(w0, diag(1 / precision)). Plackett 1975, Luce
1959; of grids of two it is Bradley and Terry's model, a logistic regression on differences. Pure functions on float64
arrays. Legend: N grids, K pictures of the largest grid, D features, M draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import log_softmax, softmax

_STEPS, _TOLERANCE = 100, 1e-10
SCALES = (0.2, 0.3, 0.45, 0.7, 1.0, 1.5)  # standard deviations of the prior that are tried
_USUAL, _FIRMNESS = 0.45, 6.0  # the usual one, and how much the answers must say against it
CROWD = 1.5  # how much a person is expected to agree with the crowd's rewards: the sum of their weights,
CROWD_SCALE = 1.0  # and how far people differ in that; found on simulated people, see benchmarks/taste.py
_OUT = -1e30  # the utility of a place that a small grid leaves empty


class Grids(NamedTuple):
    """Grids that were answered.

    Attributes:
        features: (N, K, D), zeros where a grid has fewer than K pictures.
        there: (N, K) bool.
        picked: (N,) int, the place of the picked one.
    """

    features: np.ndarray
    there: np.ndarray
    picked: np.ndarray


class Prior(NamedTuple):
    """What is expected of a person's weights before any answer: N(mean, diag(1 / precision)); both (D,)."""

    mean: np.ndarray
    precision: np.ndarray


class Posterior(NamedTuple):
    """What the answers say of the weights: N(mean, covariance), by Laplace's approximation around the mode.

    Attributes:
        mean: (D,), the most probable weights (MAP).
        factor: (D, D), lower triangular Cholesky factor of the inverse covariance.
        evidence: log of the probability of the answers under the prior, by the same approximation.
    """

    mean: np.ndarray
    factor: np.ndarray
    evidence: float

    @property
    def covariance(self) -> np.ndarray:
        """The covariance of the weights, (D, D)."""
        return cho_solve((self.factor, True), np.eye(len(self.mean)))

    def draws(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draw weights: (M, D)."""
        noise = generator.standard_normal((len(self.mean), count))
        return self.mean + solve_triangular(self.factor.T, noise, lower=False).T


def stack_grids(features: Sequence[np.ndarray], picked: Sequence[int], width: int) -> Grids:
    """Make `Grids` of N arrays (k, D) and the place picked in each; `width` is D, for no grids at all."""
    most = max((len(one) for one in features), default=1)
    stacked = np.zeros((len(features), most, width))
    there = np.zeros((len(features), most), dtype=bool)
    for row, one in enumerate(features):
        stacked[row, : len(one)] = one
        there[row, : len(one)] = True
    return Grids(stacked, there, np.asarray(picked, dtype=int))


def _utilities(weights: np.ndarray, grids: Grids) -> np.ndarray:
    return np.where(grids.there, grids.features @ weights, _OUT)  # (N, K)


def log_likelihood(weights: np.ndarray, grids: Grids) -> float:
    """Compute the log of the probability of all answers."""
    if not len(grids.picked):
        return 0.0
    logs = log_softmax(_utilities(weights, grids), axis=1)
    return float(logs[np.arange(len(grids.picked)), grids.picked].sum())


def _slopes(weights: np.ndarray, grids: Grids) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient (D,) and negative Hessian (D, D) of the log-likelihood: sum of phi'(diag p - p p')phi."""
    p = softmax(_utilities(weights, grids), axis=1)  # (N, K)
    expected = np.einsum("nk,nkd->nd", p, grids.features)
    chosen = grids.features[np.arange(len(grids.picked)), grids.picked]
    second = np.einsum("nk,nkd,nke->de", p, grids.features, grids.features, optimize=True)
    return (chosen - expected).sum(0), second - expected.T @ expected


def fit(grids: Grids, prior_mean: np.ndarray, precision: np.ndarray) -> Posterior:
    """Find the most probable weights by Newton's method, and the Laplace posterior around them.

    Args:
        grids: the answers; none leave the prior.
        prior_mean, precision: (D,); precision is one over the prior's variance, above 0.
    """

    def objective(w: np.ndarray) -> float:
        return log_likelihood(w, grids) - 0.5 * float(precision @ (w - prior_mean) ** 2)

    weights, value = prior_mean.astype(float), objective(prior_mean)
    for _ in range(_STEPS):
        gradient, curvature = _slopes(weights, grids) if len(grids.picked) else (0.0, 0.0)
        gradient = gradient - precision * (weights - prior_mean)
        step = cho_solve(cho_factor(curvature + np.diag(precision), lower=True), gradient)
        size = 1.0
        while size > 1e-6 and objective(weights + size * step) < value:  # the objective is concave: few halvings
            size /= 2
        weights = weights + size * step
        value = objective(weights)
        if np.abs(step).max() < _TOLERANCE:
            break
    curvature = _slopes(weights, grids)[1] if len(grids.picked) else 0.0
    factor = np.tril(cho_factor(curvature + np.diag(precision), lower=True)[0])
    evidence = value + 0.5 * float(np.log(precision).sum()) - float(np.log(np.diag(factor)).sum())
    return Posterior(weights, factor, evidence)


def prior(width: int, crowd: int, scale: float) -> Prior:
    """Make the prior of `width` features, of which the last `crowd` are scores of the crowd's rewards.

    The crowd is expected to be right in the main, and each other feature to count for nothing, by `scale`.
    """
    mean, precision = np.zeros(width), np.full(width, scale**-2.0)
    if crowd:
        mean[-crowd:], precision[-crowd:] = CROWD / crowd, CROWD_SCALE**-2.0
    return Prior(mean, precision)


def choose_scale(grids: Grids, width: int, crowd: int) -> float:
    """Return the scale of the `prior`: of `SCALES` the one that makes the answers most probable (evidence).

    How sure people are of themselves differs; of few answers it cannot be told, so that the usual one is preferred.
    """

    def value(scale: float) -> float:
        return fit(grids, *prior(width, crowd, scale)).evidence - _FIRMNESS * float(np.log(scale / _USUAL)) ** 2

    return max(SCALES, key=value) if len(grids.picked) else _USUAL


def expected_agreement(draws: np.ndarray, mean: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Return how often the mean's choice is the person's, for each draw. Shapes: (M, D), (D,), P pairs (P, D) -> (M,).

    The person of draw m picks the first of a pair with probability sigmoid(w_m . difference).
    """
    signs = np.where(differences @ mean >= 0, 1.0, -1.0)
    return (1.0 / (1.0 + np.exp(-(draws @ differences.T) * signs))).mean(1)


def self_agreement(draws: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Return, for each draw, how often the person gives a pair the same answer twice: the mean of p^2 + (1 - p)^2."""
    p = 1.0 / (1.0 + np.exp(-(draws @ differences.T)))
    return (p**2 + (1 - p) ** 2).mean(1)

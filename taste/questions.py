"""Which grid to ask next: the one whose answer tells most of the weights. Pure.

Expected information gain (BALD, Houlsby et al. 2011, arXiv 1112.5745): H[E p] - E H[p] over draws of the posterior.
Legend: N candidates, G grids of K pictures, M draws.
"""

from __future__ import annotations

import numpy as np

GRID = 6  # pictures of a grid; more tell nothing more
_RANDOM_GRIDS, _SWAPS = 120, 24


def information_gain(utilities: np.ndarray, grids: np.ndarray) -> np.ndarray:
    """Compute how many nats each grid's answer tells. Shapes: utilities (N, M), grids (G, K) of rows -> (G,)."""
    u = utilities[grids]  # (G, K, M)
    u = u - u.max(1, keepdims=True)
    log_sum = np.log(np.exp(u).sum(1, keepdims=True))
    p = np.exp(u - log_sum)
    own = -(p * (u - log_sum)).sum(1).mean(-1)  # E H[p]
    mean = p.mean(-1)
    return -(mean * np.log(mean + 1e-12)).sum(1) - own


def random_grid(count: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """Draw a grid of `size` different rows of `count`."""
    return generator.choice(count, size=min(size, count), replace=False)


def most_telling_grid(utilities: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Return the rows of a grid that tells much: the best of random ones, then each place's best swap.

    Shape: utilities (N, M) of N candidates under M draws -> (K,).
    """
    count = len(utilities)
    size = min(size, count)
    drawn = np.argsort(generator.random((_RANDOM_GRIDS, count)), axis=1)[:, :size]
    best = drawn[information_gain(utilities, drawn).argmax()]
    if count <= size:
        return best
    for place in range(size):
        others = np.setdiff1d(np.arange(count), best)
        tries = np.repeat(best[None], min(_SWAPS, len(others)) + 1, axis=0)
        tries[1:, place] = generator.permutation(others)[:_SWAPS]
        best = tries[information_gain(utilities, tries).argmax()]
    return best

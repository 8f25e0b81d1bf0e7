"""The algorithms by the names that configs give them. Light: an algorithm's file is imported when a run needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class KnownAlgorithm:
    """Describe an algorithm before it is imported.

    Attributes:
        tip: what it does, in a sentence of the tooltip.
        load: returns its class, an `algorithms.base.Algorithm`. Untyped, since that file stands on the config.
        gaussian_steps: whether it learns from the log-probabilities of steps, so that only schedulers with noise in
            each step will do.
        one_update: whether it is right for one optimizer step an epoch only.
    """

    tip: str
    load: Callable[[], Any]
    gaussian_steps: bool = True
    one_update: bool = False


def _load(module: str, name: str) -> Any:
    return resolve_name(f"{__package__}.{module}:{name}")


ALGORITHMS: dict[str, KnownAlgorithm] = {
    "clipped": KnownAlgorithm(
        "importance sampling with a trust region, the paper's main form.", partial(_load, "ddpo", "DDPO")
    ),
    "score": KnownAlgorithm(
        "the plain policy gradient, one update an epoch.", partial(_load, "ddpo", "ScoreFunction"), one_update=True
    ),
}

"""What an algorithm is: what an epoch collects, how it learns from that, and which figures it reports.

The loop calls `collect` and then `learn` once an epoch, with gradients enabled and nothing attached to the model:
an algorithm that runs the network inside `worker.learning()` has gradients in either of them. Nothing of an algorithm
lives beyond an epoch: what must last is the learner's and the scorer's, and everything random is drawn from
`randomness.generator(seed, purpose, epoch)`, so a run resumes without its help.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch

from ...core.errors import NonFiniteError
from ...core.progress import Progress
from ..epoch import Epoch
from ..rollout import Request, training_schedule
from ..run.report import Figure
from ..scoring import ScoredEpoch, Scorer

if TYPE_CHECKING:
    from ...loaders.model import DiffusionModel
    from ..config import FineTuneConfig
    from ..worker import Worker


@dataclass(frozen=True)
class Experience:
    """Hold what an epoch collected; an algorithm subclasses it with what it learns from.

    Attributes:
        scored: scores and advantages of all pictures; None of an algorithm that scores nothing.
    """

    scored: ScoredEpoch | None


E = TypeVar("E", bound=Experience)


class Algorithm(ABC, Generic[E]):
    """One way to learn, from experience of kind E. Made once a run.

    Its entries in `registry.ALGORITHMS` and `classes.CLASSES` give it a name.

    Attributes:
        figures: what `learn` returns, for metrics.jsonl, the page's charts and the Reward Curve. "loss" is one of them.
        given: fingerprints of what it learns from that no run makes, by name; a run goes on with the same alone.
    """

    figures: ClassVar[tuple[Figure, ...]]

    def __init__(self, worker: Worker, scorer: Scorer) -> None:
        self.worker, self.scorer = worker, scorer
        self.given: dict[str, str] = {}

    @classmethod
    def schedule(cls, model: DiffusionModel, config: FineTuneConfig) -> Any:
        """Return what pictures are sampled by while training. Raises InputError, before anything runs."""
        return training_schedule(model, config)

    @abstractmethod
    def collect(self, epoch: Epoch, progress: Progress) -> E:
        """Collect what an epoch learns from: sample and score its pictures, or read what is there."""

    @abstractmethod
    def learn(self, epoch: Epoch, experience: E, progress: Progress) -> Mapping[str, float]:
        """Make all updates of an epoch. Return a value for each of `figures`."""

    def sample(
        self, request: Request, progress: Progress, *, base: bool = False, averaged: bool = False
    ) -> torch.Tensor:
        """Return pictures (B, H, W, 3) by the training sampler, for grids and comparisons.

        They are the policy's, with `averaged` those of its moving average, with `base` the untrained model's.
        """
        return self.worker.sample(request, progress, base=base, averaged=averaged)[1]


def check_finite(loss: torch.Tensor, overflowed: str = "the network") -> None:
    """Raise NonFiniteError where a loss is no number, before a NaN reaches a gradient."""
    if not torch.isfinite(loss).all():
        raise NonFiniteError(
            f"The loss became NaN or infinite: {overflowed} overflowed in learning. Lower learning_rate, or load the "
            "model in float32."
        )

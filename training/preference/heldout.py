"""Held-out pairs: does the model prefer what people did where it was not told?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.progress import Progress
from ...ranking.intervals import wilson_interval
from ..algorithms.preference import Preference
from ..heldout import HeldOut
from ..scoring import RewardTerm
from .config import PreferenceConfig
from .preferences import Ranked

if TYPE_CHECKING:
    from ...loaders.model import DiffusionModel
    from ..algorithms.base import Algorithm
    from ..scoring import RewardFunction


class HeldOutPairs(HeldOut):
    """Ask a run about pairs that are not learned from, and compare pictures where there is a reward to do it by.

    Raises as `HeldOut`.
    """

    def __init__(
        self,
        model: DiffusionModel,
        config: PreferenceConfig,
        trained: Sequence[str],
        prompts: Sequence[str] | None,
        watched: RewardFunction | None,
        groups: Sequence[Ranked],
    ) -> None:
        super().__init__(model, config, trained, prompts, watched)
        self.groups = tuple(groups)

    def evaluate(self, algorithm: Algorithm[Any], progress: Progress) -> dict[str, Any]:
        """Return the share of held-out pairs that the tuned model tells apart as people did, with its interval.

        Where a reward is watched, also what `HeldOut.evaluate` returns.
        """
        found: dict[str, Any] = {"rewards": {}}
        if self.watched_reward is not None:
            found = super().evaluate(algorithm, progress)
        if self.groups:
            assert isinstance(algorithm, Preference)
            margins = algorithm.margins(self.groups, progress)
            right = float((margins > 0).sum()) + 0.5 * float((margins == 0).sum())
            share = wilson_interval(right, len(margins))
            found |= {"held_out_pairs": len(margins), "accuracy": share.value}
            found |= {"accuracy_low": share.low, "accuracy_high": share.high}
        return found

    def watched(self, evaluations: Sequence[Mapping[str, Any]], terms: Sequence[RewardTerm]) -> list[float]:
        """Return the figures that stop a run early: means of the watched reward, or the share of held-out pairs."""
        if self.watched_reward is not None:
            return super().watched(evaluations, terms)
        return [float(e["accuracy"]) for e in evaluations if e.get("held_out_pairs") == len(self.groups)]

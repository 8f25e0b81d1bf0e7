"""Figures of a set of pictures and of its categories: FID, KID, rewards' means, diversity, each with its interval.

Legend: K pictures that could be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch

from ..core.errors import InputError
from ..core.progress import Progress, Within
from ..ranking.intervals import mean_reach
from .fid.distance import Estimate, frechet_distance, frechet_interval, kernel_distance, too_few
from .fid.statistics import FeatureStatistics, check_comparable, statistics_of
from .settings import OVERALL, EvaluationSettings

FID, KID, DIVERSITY = "FID", "KID x1000", "diversity"
LOWER_IS_BETTER = (FID, KID)
# rewards that tables show under another name and times something
_SHOWN = {"clip-score": ("CLIP score x100", 100.0)}

Sections = dict[str, dict[str, Estimate]]


class Rows(Protocol):
    """Features of K pictures, a few at a time."""

    def __len__(self) -> int: ...

    def rows(self, index: Sequence[int]) -> torch.Tensor: ...

    def batches(self, index: Sequence[int] | None = None, size: int = 1024) -> Iterable[torch.Tensor]: ...


class FeatureTensor(NamedTuple):
    """`Rows` in memory: (K, D)."""

    features: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, index: Sequence[int]) -> torch.Tensor:
        return self.features[list(index)]

    def batches(self, index: Sequence[int] | None = None, size: int = 1024) -> Iterable[torch.Tensor]:
        return (self.features if index is None else self.rows(index)).split(size)


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of a set: K pictures with their categories, or statistics alone.

    Attributes:
        about: what they were read with.
        rows: their features; None where only statistics are known.
        categories: one for each of the K; empty texts where there are none.
        statistics: of all K.
        prompts: of each of the K, where several may be of one: intervals are over prompts then. Empty: not known.
    """

    about: Mapping[str, object]
    rows: Rows | None
    categories: tuple[str, ...]
    statistics: FeatureStatistics
    prompts: tuple[str, ...] = ()

    def of(self, category: str) -> tuple[list[int], FeatureStatistics] | None:
        """Return indices and statistics of a category's pictures; None where there are fewer than two."""
        if category == OVERALL:
            return list(range(self.statistics.count)), self.statistics
        index = [i for i, name in enumerate(self.categories) if name == category]
        if len(index) < 2 or self.rows is None:
            return None
        return index, statistics_of(self.rows.batches(index), self.about)


def feature_set(
    rows: Rows, categories: Sequence[str], about: Mapping[str, object], prompts: Sequence[str] = ()
) -> FeatureSet:
    """Return a set of features with its statistics. Raises InputError for fewer than two pictures."""
    if len(rows) < 2:
        raise InputError("pictures", len(rows), "A set needs at least two pictures that can be read.")
    return FeatureSet(about, rows, tuple(categories), statistics_of(rows.batches(), about), tuple(prompts))


def distances(
    mine: FeatureSet,
    reference: FeatureSet,
    settings: EvaluationSettings,
    progress: Progress | None = None,
) -> tuple[Sections, tuple[str, ...]]:
    """Compute FID and KID against a reference, overall and of every category both have, and what to be careful about.

    `progress` gets a phase for each figure, and counts resamples and subsets; what it raises stops the work.
    """
    check_comparable(mine.about, reference.about)
    names = [OVERALL, *sorted({c for c in mine.categories if c} & set(reference.categories))]
    found: Sections = {}

    notes = [too_few(mine.statistics.count, reference.statistics.count, len(mine.statistics.mean))]
    for name in names:
        first, second = mine.of(name), reference.of(name)
        if first is None or second is None:
            notes.append(f"{name}: fewer than two pictures, so no FID of it.")
            continue
        found[name] = _pair(mine, reference, first, second, settings, _Named(progress or Progress(), name))
    if reference.rows is None:
        notes.append("The reference is statistics alone: no KID, which needs the features of its pictures.")
    if len(found) > 1:
        smallest = min(values[FID].count for values in found.values())
        if smallest <= len(mine.statistics.mean):
            notes.append(
                f"The smallest category has {smallest:,} pictures, fewer than the {len(mine.statistics.mean):,} "
                "features: FIDs of categories are too high; compare them only with ones of the same size."
            )
    return found, tuple(note for note in notes if note)


class _Named(Within):
    """Phases whose names end in the category they are of."""

    def __init__(self, outer: Progress, category: str) -> None:
        super().__init__(outer)
        self._category = category

    def phase(self, name: str, total: int) -> None:
        self._outer.phase(f"{name}, {self._category}", total)


def _pair(
    mine: FeatureSet,
    reference: FeatureSet,
    first: tuple[list[int], FeatureStatistics],
    second: tuple[list[int], FeatureStatistics],
    settings: EvaluationSettings,
    progress: Progress,
) -> dict[str, Estimate]:
    index, statistics = first
    others, known = second
    if mine.rows is None:
        value = frechet_distance(statistics, known)
        return {FID: Estimate(value, math.nan, math.nan, statistics.count)}
    rows = _within(mine.rows, index)
    found = {
        FID: frechet_interval(
            rows,
            len(index),
            statistics,
            known,
            resamples=settings.resamples,
            seed=settings.seed,
            groups=[mine.prompts[i] for i in index] if mine.prompts else None,
            progress=progress,
        )
    }
    if reference.rows is not None:
        kid = kernel_distance(
            rows,
            len(index),
            _within(reference.rows, others),
            len(others),
            subsets=settings.kid_subsets,
            subset_size=settings.kid_subset_size,
            seed=settings.seed,
            progress=progress,
        )
        found[KID] = Estimate(1000 * kid.value, 1000 * kid.low, 1000 * kid.high, kid.count)
    return found


def _within(rows: Rows, index: list[int]) -> Callable[[Sequence[int]], torch.Tensor]:
    return lambda chosen: rows.rows([index[i] for i in chosen])


def mean_interval(values: Sequence[float], scale: float = 1.0, groups: Sequence[Hashable] | None = None) -> Estimate:
    """Return a mean and its 95% interval (Student's). Raises InputError for no value.

    `groups` says which prompt each value is of: see `mean_reach`.
    """
    if not len(values):
        raise InputError("scores", 0, "There is nothing to take a mean of.")
    column = torch.tensor(values, dtype=torch.float64) * scale
    mean = float(column.mean())
    if len(column) < 2:
        return Estimate(mean, math.nan, math.nan, 1)
    half = mean_reach(column, groups)
    return Estimate(mean, mean - half, mean + half, len(column))


def means(
    scores: Mapping[str, Sequence[float]], categories: Sequence[str], prompts: Sequence[str] | None = None
) -> Sections:
    """Return the mean of every reward, overall and of every category; `prompts`, if given, are what intervals cover."""
    found: Sections = {}
    groups = {OVERALL: list(range(len(categories)))}
    for name in sorted({c for c in categories if c}):
        groups[name] = [i for i, c in enumerate(categories) if c == name]
    for group, index in groups.items():
        for reward, column in scores.items():
            title, scale = _SHOWN.get(reward, (reward, 1.0))
            alike = None if prompts is None else [prompts[i] for i in index]
            found.setdefault(group, {})[title] = mean_interval([column[i] for i in index], scale, alike)
    return found


def diversity(rows: Rows, prompts: Sequence[str]) -> Estimate | None:
    """Measure how different the pictures of one prompt are: mean of 1 - cosine of the features of two of them.

    The interval is over prompts. None where no prompt has two pictures. The cosines of all pairs add up to the square
    of the sum of the unit vectors, less one for each picture: memory is flat.
    """
    groups: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(i)
    values = []
    for index in groups.values():
        if len(index) < 2:
            continue
        count = len(index)
        units = (torch.nn.functional.normalize(part.double(), dim=1).sum(0) for part in rows.batches(index))
        total = torch.stack(list(units)).sum(0)
        values.append(1 - (float(total @ total) - count) / (count * (count - 1)))
    if not values:
        return None
    found = mean_interval(values)
    return replace(found, low=max(0.0, found.low), high=min(2.0, found.high)) if len(values) > 1 else found

"""How a picture was made, so that it can be made again: seeds, and what happened on the way. JSON in a PNG's record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import InputError
from ..core.settings import MAX_SEED

_MOST = 10_000  # entries of a list; a file may say anything


@dataclass(frozen=True)
class Drafts:
    """The drafts that steered a picture: K seeds and their rewards, and the settings of the guide."""

    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    steps: int
    strength: float
    scale: float


@dataclass(frozen=True)
class Recipe:
    """One picture's lineage.

    Attributes:
        path: (step, seed): from that step on the fresh noise is that seed's; the first is of step 0, and its seed
            draws the first noise. Particles that were copied have more than one.
        moves: (angle, seed): turns of the first noise towards other seeds' noise, in order.
        drafts: what steered it; None for nothing.
    """

    path: tuple[tuple[int, int], ...]
    moves: tuple[tuple[float, int], ...] = ()
    drafts: Drafts | None = None

    @property
    def seed(self) -> int:
        """The seed of the first noise."""
        return self.path[0][1]

    def record(self) -> dict[str, Any]:
        """Return it as JSON takes it; what there is not is left out."""
        return {name: value for name, value in asdict(self).items() if value}


def read_recipe(content: Any) -> Recipe:
    """Read what `Recipe.record` wrote. Raises InputError for what no recipe says: files come from strangers."""
    try:
        path = tuple((_whole(step), _whole(seed)) for step, seed in _listed(content["path"]))
        moves = tuple((_number(angle), _whole(seed)) for angle, seed in _listed(content.get("moves", ())))
        drafts = _drafts(content["drafts"]) if "drafts" in content else None
        starts = [step for step, _ in path]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("its steps are in no order")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
        raise InputError("recipe", content, f"This is no lineage of a search ({e}).") from e
    return Recipe(path, moves, drafts)


def _drafts(content: Mapping[str, Any]) -> Drafts:
    seeds = tuple(_whole(seed) for seed in _listed(content["seeds"]))
    scores = tuple(_number(score) for score in _listed(content["scores"]))
    if len(seeds) != len(scores) or not seeds:
        raise ValueError("each draft has one score")
    steps = _whole(content["steps"])
    return Drafts(seeds, scores, steps, _number(content["strength"]), _number(content["scale"]))


def _listed(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) > _MOST:
        raise ValueError(f"a list of at most {_MOST:,} is needed")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
        raise ValueError(f"{value!r} is no seed or step")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)

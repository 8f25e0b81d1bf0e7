"""`ScoreTable`: images, prompts, seeds and scores, kept aligned. It travels on TASTE_SCORES wires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ..loaders.errors import InputError
from .pictures import Pictures, as_pictures, stacked
from .ranking import best_first, rank, select_top

GROUPINGS = ("prompt", "all")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """B rows, one for each picture.

    Attributes:
        pictures: B pictures; a batch (B, H, W, 3) in [0, 1] is taken too.
        prompts: B texts.
        seeds: B seeds, None where unknown.
        scores: name of a reward -> float32 (B,).
        main: the name whose column ranks.
        ranks: (B,) int64 once ranked, 1 best inside its group; else None.
        group_by: `"prompt"` or `"all"`, what ranks were taken inside of.
    """

    pictures: Pictures
    prompts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    scores: Mapping[str, torch.Tensor]
    main: str
    ranks: torch.Tensor | None = None
    group_by: str = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pictures", as_pictures(self.pictures))
        count = len(self.pictures)
        columns = {"prompts": self.prompts, "seeds": self.seeds, **self.scores}
        for name, column in columns.items():
            if len(column) != count:
                raise InputError(name, len(column), f"There are {count} pictures; every column needs as many rows.")

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def images(self) -> torch.Tensor:
        """The pictures as one batch (B, H, W, 3). Raises InputError when their sizes differ."""
        return stacked(self.pictures)

    def rows(self, index: Sequence[int]) -> ScoreTable:
        """Some rows, in the order given."""
        index = list(index)
        return replace(
            self,
            pictures=self.pictures.rows(index),
            prompts=tuple(self.prompts[i] for i in index),
            seeds=tuple(self.seeds[i] for i in index),
            scores={name: column[index] for name, column in self.scores.items()},
            ranks=None if self.ranks is None else self.ranks[index],
        )

    def records(self) -> list[dict[str, object]]:
        """One dictionary a row: rank, score, seed, prompt, and `scores` with every reward's."""
        return [
            {
                "rank": None if self.ranks is None else int(self.ranks[i]),
                "score": float(self.scores[self.main][i]),
                "seed": self.seeds[i],
                "prompt": self.prompts[i],
                "scores": {name: float(column[i]) for name, column in self.scores.items()},
            }
            for i in range(len(self))
        ]


def rank_table(table: ScoreTable, *, top_k: int, group_by: str) -> tuple[ScoreTable, list[int], list[int]]:
    """Rank a table, best first.

    Args:
        table: scores to rank by their `main` column.
        top_k: pictures kept of each group; 0 keeps all.
        group_by: `"prompt"` ranks inside each prompt, `"all"` the batch as one.

    Returns:
        the whole table sorted with its ranks, and the places in it of the kept and rejected rows.

    Raises:
        InputError: an unknown `group_by`.
    """
    if group_by not in GROUPINGS:
        raise InputError("group_by", group_by, f"Pick one of {', '.join(GROUPINGS)}.")
    groups = list(table.prompts) if group_by == "prompt" else None
    values = table.scores[table.main]
    ranked = replace(table, ranks=rank(values, groups), group_by=group_by)
    order = best_first(values, groups)
    ranked = ranked.rows(order)
    sorted_groups = list(ranked.prompts) if group_by == "prompt" else None
    kept, rejected = select_top(range(len(order)), top_k, sorted_groups)
    return ranked, kept, rejected

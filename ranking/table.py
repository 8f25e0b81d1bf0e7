"""`ScoreTable`: pictures, prompts, seeds, scores and what belongs to them, kept aligned. It travels on TASTE_SCORES."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..core.errors import InputError
from ..core.groups import best_first, group_sizes, rank, select_top
from ..images.joined import JoinedPictures
from ..images.pictures import Pictures, as_pictures, stacked
from .selection import BUCKETS, RankOptions, bucket_of_ranks, bucket_of_scores


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
        extras: what belongs to the pictures and goes where they go, such as `latents` and `masks`: a name -> a
            tensor whose first axis is B.
        buckets: B of "great", "ok" and "bad" once ranked; else None.
        stars: B ratings by hand, 1 to 5, 0 without one, -1 rejected; None where nobody has rated.
        picked: B times whether it was picked by hand before; None where nobody has picked.
        made: how each picture was made beyond prompt and seed, as JSON takes it, for its file; None where nothing says.
    """

    pictures: Pictures
    prompts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    scores: Mapping[str, torch.Tensor]
    main: str
    ranks: torch.Tensor | None = None
    group_by: str = "all"
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)
    buckets: tuple[str, ...] | None = None
    made: tuple[Mapping[str, Any], ...] | None = None
    stars: tuple[int, ...] | None = None
    picked: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pictures", as_pictures(self.pictures))
        count = len(self.pictures)
        columns = {"prompts": self.prompts, "seeds": self.seeds, **self.scores, **self.extras}
        by_hand = {"stars": self.stars, "picked": self.picked}
        known = {"ranks": self.ranks, "buckets": self.buckets, "made": self.made, **by_hand}
        columns |= {name: column for name, column in known.items() if column is not None}
        for name, column in columns.items():
            if len(column) != count:
                raise InputError(name, len(column), f"There are {count} pictures; every column needs as many rows.")

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def images(self) -> torch.Tensor:
        """Stack the pictures into one batch (B, H, W, 3). Raises InputError when their sizes differ."""
        return stacked(self.pictures)

    def rows(self, index: Sequence[int]) -> ScoreTable:
        """Return some rows, in the order given."""
        index = list(index)
        return replace(
            self,
            pictures=self.pictures.rows(index),
            prompts=tuple(self.prompts[i] for i in index),
            seeds=tuple(self.seeds[i] for i in index),
            scores={name: column[index] for name, column in self.scores.items()},
            ranks=None if self.ranks is None else self.ranks[index],
            extras={name: column[index] for name, column in self.extras.items()},
            buckets=None if self.buckets is None else tuple(self.buckets[i] for i in index),
            made=None if self.made is None else tuple(self.made[i] for i in index),
            stars=None if self.stars is None else tuple(self.stars[i] for i in index),
            picked=None if self.picked is None else tuple(self.picked[i] for i in index),
        )

    def records(self) -> list[dict[str, object]]:
        """One dictionary a row: rank, score, bucket, seed, prompt, name of its file, and `scores` with every one's.

        `made` and `stars` come with them where they are known.
        """
        columns = {name: column.tolist() for name, column in self.scores.items()}
        ranks = [None] * len(self) if self.ranks is None else self.ranks.tolist()
        return [
            {
                "rank": ranks[i],
                "score": columns[self.main][i],
                "bucket": None if self.buckets is None else self.buckets[i],
                "seed": self.seeds[i],
                "prompt": self.prompts[i],
                "name": self.pictures.name(i),
                "scores": {name: column[i] for name, column in columns.items()},
                **({} if self.made is None else {"made": self.made[i]}),
                **({} if self.stars is None else {"stars": self.stars[i]}),
            }
            for i in range(len(self))
        ]


def joined_tables(*tables: ScoreTable) -> ScoreTable:
    """Join tables, one below the other: unranked, with the scores that all of them have, marks, and no extras.

    Raises InputError where they share no score.
    """
    first, *others = tables
    if not others:
        return first
    shared = [name for name in first.scores if all(name in table.scores for table in others)]
    if not shared:
        found = " and ".join(", ".join(table.scores) for table in tables)
        raise InputError("scores", found, "The tables have no reward in common: score them with the same one.")
    return ScoreTable(
        JoinedPictures.of(*(table.pictures for table in tables)),
        tuple(prompt for table in tables for prompt in table.prompts),
        tuple(seed for table in tables for seed in table.seeds),
        {name: torch.cat([table.scores[name] for table in tables]) for name in shared},
        first.main if first.main in shared else shared[0],
        stars=_joined([table.stars or (0,) * len(table) for table in tables]),
        picked=_joined([table.picked or (False,) * len(table) for table in tables]),
    )


def _joined(columns: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """Return marks one after the other; None where there are none."""
    whole = tuple(mark for column in columns for mark in column)
    return whole if any(whole) else None


def rank_table(table: ScoreTable, **settings: Any) -> tuple[ScoreTable, list[int], list[int]]:
    """Rank a table, best first, by the fields of `RankOptions`.

    Returns:
        the whole table sorted, with its ranks and buckets and the ranking column as `main`, and the places in it
        of the kept and of the rejected rows.

    Raises:
        InputError: settings outside their limits, an empty table, a column that is not there, a score that is no
            finite number.
    """
    options = RankOptions(**settings)
    main = options.rank_by.strip() or table.main
    if main not in table.scores:
        raise InputError("rank_by", main, f"There are columns for {', '.join(table.scores)}. Empty is the main one.")
    if not len(table):
        raise InputError("scores", "no rows", "There is nothing to rank.")
    _check_finite(table)
    values = table.scores[main]
    groups = list(table.prompts) if options.group_by == "prompt" else None
    ranks = rank(values, groups)
    if options.buckets == "thirds":
        buckets = bucket_of_ranks(ranks.tolist(), group_sizes(groups, len(table)).tolist())
    else:
        buckets = bucket_of_scores(values.tolist(), options.great_from, options.ok_from)
    ranked = replace(table, main=main, ranks=ranks, group_by=options.group_by, buckets=buckets)
    ranked = ranked.rows(best_first(values, groups))
    return ranked, *_selected(ranked, options)


def _selected(ranked: ScoreTable, options: RankOptions) -> tuple[list[int], list[int]]:
    """Places kept and rejected: the first `top_k` of each group among those `keep` lets through."""
    wanted = BUCKETS if options.keep == "all" else BUCKETS[: BUCKETS.index(options.keep) + 1]
    fit = [i for i, bucket in enumerate(ranked.buckets or ()) if bucket in wanted]
    groups = ranked.prompts if options.group_by == "prompt" else None
    kept, _ = select_top(fit, options.top_k, groups)
    chosen = set(kept)
    return kept, [i for i in range(len(ranked)) if i not in chosen]


def _check_finite(table: ScoreTable) -> None:
    for name, column in table.scores.items():
        bad = torch.nonzero(~torch.isfinite(column)).flatten().tolist()
        if bad:
            found = f"{column[bad[0]].item()} for picture {bad[0] + 1}"
            raise InputError("scores", found, f"{name} gave something that is no number, so nothing can be ranked.")

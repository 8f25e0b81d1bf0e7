"""Preferences from what there is: score tables, a ranked table, votes, a folder of pairs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ...core.errors import InputError
from ...core.groups import best_first
from ...core.progress import Progress
from ...images.decode import PictureError
from ...images.folder import read_folder
from ...images.joined import JoinedPictures
from ...images.pictures import Pictures
from ...ranking.table import ScoreTable
from .preferences import Preferences, Ranked, pair, ranked_group

BETTER, WORSE = "w", "l"  # sub-folders of a folder of pairs, as kohya's trainer calls them


def from_tables(better: ScoreTable, worse: ScoreTable, masks: torch.Tensor | None = None) -> Preferences:
    """Pair each picture of one table with one of the other of the same prompt: the first is better.

    Pictures of one seed go together; the others of a prompt in the order they have. Those without a partner, and pairs
    of equal pictures, are left out and counted.

    Args:
        masks: (1, H, W), or one for each picture of `better`: where it is better.

    Raises InputError where no prompt is in both, for masks of another number, and for pictures that cannot be read.
    """
    _check_masks(masks, len(better))
    matched = _partners(better, worse)
    if not matched:
        found = f"{len(better)} and {len(worse)} pictures"
        raise InputError("worse", found, "No prompt has pictures in both tables: make both from the same prompts.")
    different = [(i, j) for i, j in matched if _key(better.pictures, i) != _key(worse.pictures, j)]
    first = len(better)
    groups = [pair(better.prompts[i], i, first + j, mask=_mask_of(masks, i)) for i, j in different]
    return Preferences(
        JoinedPictures.of(better.pictures, worse.pictures),
        tuple(groups),
        masks,
        _remarks(
            ("without a partner of its prompt", "pictures", len(better) + len(worse) - 2 * len(matched)),
            ("the same picture twice", "pairs", len(matched) - len(different)),
        ),
    )


def from_ranked(
    table: ScoreTable, *, group_size: int = 2, pairs_per_prompt: int = 1, masks: torch.Tensor | None = None
) -> Preferences:
    """Compare a table's best pictures with its worst of the same prompt, by its main score.

    With `group_size` 2 a prompt gives up to `pairs_per_prompt` pairs: the best and the worst, the second best and the
    second worst, and so on. More make one group of a prompt: the best half and the worst half of so many, with their
    z-scores as advantages. Equal scores are ties; they are left out and counted, as are prompts with one picture.

    Raises InputError for scores that are no numbers, and for masks of another number than 1 or the pictures'.
    """
    _check_masks(masks, len(table))
    values = table.scores[table.main].double()
    if not torch.isfinite(values).all():
        raise InputError("better", table.main, "A score in it is no number, so nothing can be ordered by it.")
    groups: list[Ranked] = []
    ties = single = 0
    for prompt, rows in _rows_of(table.prompts).items():
        order = [rows[i] for i in best_first(values[rows])]
        if len(order) < 2:
            single += 1
        elif group_size == 2:
            for best, worst in list(zip(order, reversed(order), strict=True))[: min(pairs_per_prompt, len(order) // 2)]:
                if values[best] > values[worst]:
                    groups.append(pair(prompt, best, worst, mask=_mask_of(masks, best)))
                else:
                    ties += 1
        else:
            half = min(group_size, len(order)) // 2
            chosen = [*order[:half], *order[-half:]]
            group = ranked_group(prompt, chosen, values[chosen].tolist())
            if group is None:
                ties += 1
            else:
                groups.append(group._replace(mask=_mask_of(masks, chosen[0])))
    remarks = _remarks(
        ("ties, with equal scores", "pairs", ties), ("the only picture of its prompt", "pictures", single)
    )
    return Preferences(table.pictures, tuple(groups), masks, remarks)


class Choice(NamedTuple):
    """Say what somebody chose: `better` and `worse` are pictures' content keys, in any order where it was a tie."""

    prompt: str
    better: str
    worse: str
    tie: bool = False


def from_choices(
    choices: Iterable[Choice], tables: Sequence[ScoreTable], masks: torch.Tensor | None = None
) -> Preferences:
    """Make pairs of what people chose; several choices on a pair are counted, and the majority has it.

    A pair weighs as much as its majority is clear: 1 where all agree, a half for three of four. Ties are left out and
    counted, as are choices on pictures that none of the tables has.

    Args:
        tables: of the pictures that were chosen among.
        masks: (1, H, W), for all pairs.
    """
    _check_masks(masks, 1)
    pictures = JoinedPictures.of(*(table.pictures for table in tables))
    places: dict[str, int] = {}
    for i in range(len(pictures)):
        places.setdefault(_key(pictures, i), i)
    votes: dict[tuple[str, str, str], list[int]] = {}  # one for the pair as named, -1 for the other way round
    for choice in choices:
        first, second = sorted((choice.better, choice.worse))
        vote = 0 if choice.tie else (1 if choice.better == first else -1)
        votes.setdefault((choice.prompt, first, second), []).append(vote)
    groups: list[Ranked] = []
    ties = missing = 0
    for (prompt, first, second), cast in votes.items():
        balance = sum(cast)
        if first not in places or second not in places:
            missing += 1
        elif not balance or first == second:
            ties += 1
        else:
            better, worse = (first, second) if balance > 0 else (second, first)
            weight = abs(balance) / len(cast)
            groups.append(pair(prompt, places[better], places[worse], weight, None if masks is None else 0))
    remarks = _remarks(("ties", "pairs", ties), ("of pictures that are not connected", "pairs", missing))
    return Preferences(pictures, tuple(groups), masks, remarks)


def from_folder(root: Path, masks: torch.Tensor | None = None, progress: Progress | None = None) -> Preferences:
    """Pair the pictures of `root`/w with those of `root`/l of the same name: those in w are better.

    Captions are .txt files beside the pictures, else what is in the files; one of the two will do. Pictures that cannot
    be read, have no partner, have no caption or two that differ are left out and counted.

    Args:
        masks: (1, H, W), for all pairs.

    Raises InputError as `read_folder`.
    """
    _check_masks(masks, 1)
    found = read_folder(root, recursive=True, progress=progress)
    sides: dict[str, dict[str, int]] = {BETTER: {}, WORSE: {}}
    for i, file in enumerate(found.pictures.files):
        side, _, name = file.name.partition("/")
        if side in sides and name and "/" not in name:
            sides[side].setdefault(name.rpartition(".")[0], i)
    if not sides[BETTER] or not sides[WORSE]:
        advice = f"It needs sub-folders {BETTER} and {WORSE} with pictures of the same names, better ones in {BETTER}."
        raise InputError("folder", root.name, advice)
    groups: list[Ranked] = []
    differ = equal = 0
    both = [name for name in sides[BETTER] if name in sides[WORSE]]
    for name in both:
        better, worse = sides[BETTER][name], sides[WORSE][name]
        prompts = {found.prompts[i] for i in (better, worse)} - {""}
        if len(prompts) > 1:
            differ += 1
        elif _key(found.pictures, better) == _key(found.pictures, worse):
            equal += 1
        else:
            groups.append(pair(next(iter(prompts), ""), better, worse, mask=None if masks is None else 0))
    remarks = _remarks(
        ("without a partner of their name", "pictures", sum(map(len, sides.values())) - 2 * len(both)),
        ("with two captions that differ", "pairs", differ),
        ("the same picture twice", "pairs", equal),
        ("that cannot be read", "pictures", len(found.broken)),
    )
    return Preferences(found.pictures, tuple(groups), masks, remarks)


# --- how things find each other -----------------------------------------------------------------


def _rows_of(labels: Sequence[Hashable]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(str(label), []).append(i)
    return rows


def _partners(better: ScoreTable, worse: ScoreTable) -> list[tuple[int, int]]:
    """Return (row of better, row of worse) of one prompt: those of one seed first, the rest in their order."""
    left = _rows_of(worse.prompts)
    matched: list[tuple[int, int]] = []
    for prompt, rows in _rows_of(better.prompts).items():
        others = left.get(prompt, [])
        waiting = []
        for i in rows:
            j = next((j for j in others if better.seeds[i] is not None and worse.seeds[j] == better.seeds[i]), None)
            if j is None:
                waiting.append(i)
            else:
                others.remove(j)
                matched.append((i, j))
        matched += zip(waiting, others, strict=False)
    return sorted(matched)


def _key(pictures: Pictures, i: int) -> str:
    try:
        return pictures.key(i)
    except PictureError as e:
        raise InputError("images", pictures.name(i), f"The file of a picture {e}; read its folder again.") from e


def _check_masks(masks: torch.Tensor | None, pictures: int) -> None:
    if masks is not None and (masks.ndim != 3 or len(masks) not in (1, pictures)):
        many = f", or one for each of the {pictures} pictures" if pictures > 1 else ""
        raise InputError("mask", tuple(masks.shape), f"Connect one mask{many}.")


def _mask_of(masks: torch.Tensor | None, i: int) -> int | None:
    return None if masks is None else (i if len(masks) > 1 else 0)


def _remarks(*counts: tuple[str, str, int]) -> tuple[str, ...]:
    """Say what was left out: (why, of what, how many), those of none left out."""
    return tuple(
        f"{count:,} {what if count > 1 else what[:-1]} left out: {why}." for why, what, count in counts if count
    )

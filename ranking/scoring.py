"""Scoring pictures in any number: in pieces, from the cache where it can be, broken files left out and named."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from PIL import Image

from ..core.errors import InputError
from ..core.progress import Place, Progress, Within, stay
from ..images.decode import PictureError
from ..images.pictures import Pictures, as_pictures
from ..images.prefetch import prefetched
from ..rewards.reward import Reward, one_prompt_each
from .cache import ScoreCache
from .table import ScoreTable

log = logging.getLogger(__name__)

_PIECE_CPU, _PIECE_GPU = 8, 64  # pictures between two saves of their scores
_PIECE_PIXELS = 2**26  # and at most this many pixels, 200 MB of 8-bit RGB
_REMARKS = 20  # lines; a folder may hold ten thousand long prompts

Columns = dict[str, float]


class Scored(NamedTuple):
    """What came of scoring.

    Attributes:
        table: a row for each picture that could be scored, in their order.
        broken: (name, why) of files that could not.
        remembered: rows whose scores all came from the cache.
        note: what the cache had to say; empty while it is well.
        remarks: what the rewards say of prompts they do not read whole.
        places: of the table's rows among the pictures; those that are missing are broken, in their order.
    """

    table: ScoreTable
    broken: tuple[tuple[str, str], ...]
    remembered: int
    note: str
    remarks: tuple[str, ...]
    places: tuple[int, ...]


def score_pictures(
    pictures: torch.Tensor | Pictures,
    prompts: str | Sequence[str],
    reward: Reward,
    *,
    seeds: Sequence[int | None] | None = None,
    extras: Mapping[str, torch.Tensor] | None = None,
    cache: ScoreCache | None = None,
    place: Place = stay,
    progress: Progress | None = None,
    allow_none: bool = False,
) -> Scored:
    """Score pictures into a table.

    Memory does not grow with their number: files are decoded a piece at a time, and what is scored is kept in
    the cache after each piece, so stopping anywhere loses at most a piece.

    Args:
        pictures: a batch (B, H, W, 3) in [0, 1], or `Pictures`.
        prompts: one text for all, or one for each.
        seeds: one for each, None where unknown.
        extras: what belongs to the pictures: a name -> a tensor whose first axis is B.
        cache: where scores are looked up and kept. A reward without a fingerprint is never cached.
        place: makes the reward's networks ready to run; never called when every score is known.
        progress: counts pictures, once for each single reward; what it raises stops the scoring.
        allow_none: return a table without rows where none of the files can be read.

    Raises:
        InputError: pictures or prompts that cannot be scored; no picture left, unless `allow_none`.
        NonFiniteError, OutOfMemoryError: as the reward does.
    """
    pictures = as_pictures(pictures)
    if not len(pictures):
        raise InputError("images", "no pictures", "There is nothing to score.")
    texts = one_prompt_each(prompts, len(pictures))
    _check_prompts(reward, pictures, texts)
    with ExitStack() as placed:
        work = _Work(pictures, texts, reward, cache, place, placed, progress or Progress())
        columns = work.score()
    alive = [i for i in range(len(pictures)) if i not in work.broken]
    broken = tuple((pictures.name(i), work.broken[i]) for i in sorted(work.broken))
    if not alive and not allow_none:
        raise InputError("images", " ".join(broken[0]), f"None of the {len(pictures)} pictures can be read.")
    seeds = [None] * len(pictures) if seeds is None else list(seeds)
    whole = len(alive) == len(pictures)
    table = ScoreTable(
        pictures if whole else pictures.rows(alive),
        tuple(texts[i] for i in alive),
        tuple(seeds[i] for i in alive),
        {name: column[alive] for name, column in columns.items()},
        reward.name,
        extras={name: tensor if whole else tensor[alive] for name, tensor in (extras or {}).items()},
    )
    remarks = _remarks(reward, table.prompts)
    for line in remarks:
        log.warning(line)
    return Scored(table, broken, len(alive) - len(work.asked), cache.problem if cache else "", remarks, tuple(alive))


def _remarks(reward: Reward, prompts: Sequence[str]) -> tuple[str, ...]:
    """Return what the rewards do not read of the prompts: once for each, however many pieces were scored."""
    lines = [f"{name}: {line}" for name, said in reward.overflows(prompts).items() for line in said]
    more = [f"and {len(lines) - _REMARKS:,} more such prompts"] if len(lines) > _REMARKS else []
    return (*lines[:_REMARKS], *more)


def _check_prompts(reward: Reward, pictures: Pictures, texts: Sequence[str]) -> None:
    """Before any work: an empty prompt where the reward compares with it. Raises InputError."""
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty and reward.needs_prompt:
        first = pictures.name(empty[0]) or f"image {empty[0] + 1}"
        raise InputError(
            "prompts",
            texts[empty[0]],
            f"{reward.name} compares a picture with its prompt; {len(empty)} of {len(texts)} pictures have none, "
            f"{first} first. Connect prompts or type one; for a folder, Load Images has default_prompt and "
            "without_prompt.",
        )


class _Read(NamedTuple):
    """One picture made ready: its key, its pixels where it is of no batch, or why it cannot be used."""

    key: str
    picture: Image.Image | None
    why: str


class _LastHeld(Within):
    """Passes on all of a number of units but those of the last batch: what it scored is kept before they count."""

    def __init__(self, outer: Progress, count: int) -> None:
        super().__init__(outer)
        self.left = count

    def advance(self, count: int = 1) -> None:
        if count < self.left:
            self.left -= count
            super().advance(count)


@dataclass(eq=False)
class _Work:
    """One call's pictures, and what became of them."""

    pictures: Pictures
    texts: list[str]
    reward: Reward
    cache: ScoreCache | None
    place: Place
    placed: ExitStack
    progress: Progress
    broken: dict[int, str] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)  # pictures that some reward had to look at
    is_placed: bool = False

    def score(self) -> dict[str, torch.Tensor]:
        """Score every picture: columns, `reward.name` first, float32 (B,), NaN where a file is broken."""
        self.progress.phase(f"scoring with {self.reward.name}", len(self.pictures) * len(self.reward.leaves))
        return self._columns(self.reward)

    def _columns(self, reward: Reward) -> dict[str, torch.Tensor]:
        if not reward.members:
            rows = self._single(reward)
            names = next((list(row) for row in rows if row is not None), [reward.name])
            nothing = dict.fromkeys(names, math.nan)
            return {name: torch.tensor([(row or nothing)[name] for row in rows]) for name in names}
        # each member by itself, so that the cache serves any combination of them
        joined: dict[str, torch.Tensor] = {}
        for member in reward.members:
            joined |= self._columns(member)
        alive = [i for i in range(len(self.pictures)) if i not in self.broken]
        total = torch.full((len(self.pictures),), math.nan)
        if alive:
            total[alive] = reward.total({n: c[alive] for n, c in joined.items()}, [self.texts[i] for i in alive])
        return {reward.name: total, **joined}

    def _single(self, reward: Reward) -> list[Columns | None]:
        """Score columns of a reward that is not combined of others; None for a broken file."""
        cache = self.cache if self.cache is not None and reward.fingerprint and not reward.relative else None
        found: list[Columns | None] = [None] * len(self.pictures)
        if cache is not None:
            self._recall(reward, cache, found)
        left = [i for i, row in enumerate(found) if row is None and i not in self.broken]
        self.progress.advance(len(found) - len(left))
        if left and not self.is_placed:
            self.placed.enter_context(self.place(self.reward.modules.values()))
            self.is_placed = True
        silent = reward.silent  # `score_pictures` has the remarks, once for all pieces
        pieces = list(_pieces(self.pictures, left, reward))
        with closing(prefetched(lambda i: self._read(i, keyed=cache is not None), pieces)) as ready:
            for piece, read in ready:
                self._score(silent, cache, piece, read, found)
        return found

    def _recall(self, reward: Reward, cache: ScoreCache, found: list[Columns | None]) -> None:
        """Fill in what is known without reading a file."""
        cache.recall_keys(self.pictures)
        keys = {i: self.pictures.content_key(i) for i in range(len(self.pictures))}
        known = {i: key for i, key in keys.items() if key is not None}
        self._fill(reward, cache, list(known), list(known.values()), found)

    def _fill(
        self, reward: Reward, cache: ScoreCache, index: Sequence[int], keys: Sequence[str], found: list[Columns | None]
    ) -> None:
        rows = cache.find(reward, keys, [self.texts[i] for i in index])
        for i, row in zip(index, rows, strict=True):
            if row is not None:
                found[i] = row

    def _read(self, i: int, *, keyed: bool) -> _Read:
        """Read key and pixels of one picture; runs beside the scoring."""
        try:
            key = self.pictures.key(i) if keyed else ""
            in_memory = self.pictures.batch() is not None
            return _Read(key, None if in_memory else self.pictures.decode(i, keep_mode=True), "")
        except PictureError as e:
            return _Read("", None, str(e))

    def _score(
        self,
        reward: Reward,
        cache: ScoreCache | None,
        piece: Sequence[int],
        ready: Sequence[_Read],
        found: list[Columns | None],
    ) -> None:
        """Score one piece and keep its scores before anybody may stop the work."""
        self.broken.update((i, one.why) for i, one in zip(piece, ready, strict=True) if one.why)
        usable = {i: one for i, one in zip(piece, ready, strict=True) if not one.why}
        if cache is not None:
            cache.remember_keys(self.pictures, usable)
            self._fill(reward, cache, list(usable), [one.key for one in usable.values()], found)
        wanted = [i for i in usable if found[i] is None]
        held = _LastHeld(self.progress, len(wanted))
        if wanted:
            self.asked.update(wanted)
            rows = self._ask(reward, wanted, [usable[i].picture for i in wanted], held)
            for i, row in zip(wanted, rows, strict=True):
                found[i] = row
            if cache is not None:
                cache.store(reward, [usable[i].key for i in wanted], [self.texts[i] for i in wanted], rows)
        self.progress.advance(len(piece) - len(wanted) + held.left)

    def _ask(
        self, reward: Reward, index: list[int], opened: list[Image.Image | None], progress: Progress
    ) -> list[Columns]:
        texts = [self.texts[i] for i in index]
        batch = self.pictures.batch()
        if batch is not None:
            columns = reward.columns(batch[index], texts, progress=progress)
        else:
            columns = reward.picture_columns([one for one in opened if one is not None], texts, progress=progress)
        lists = {name: column.tolist() for name, column in columns.items()}
        return [{name: column[i] for name, column in lists.items()} for i in range(len(index))]


def _pieces(pictures: Pictures, index: Sequence[int], reward: Reward) -> Iterator[list[int]]:
    """Rows to score together: few enough to stop between them, and to be in memory twice."""
    on_gpu = any(p.device.type != "cpu" for m in reward.modules.values() for p in m.parameters())
    most = reward.batch_size or (_PIECE_GPU if on_gpu else _PIECE_CPU)
    piece: list[int] = []
    pixels = 0
    for i in index:
        height, width = pictures.size(i)
        if piece and (len(piece) >= most or pixels + height * width > _PIECE_PIXELS):
            yield piece
            piece, pixels = [], 0
        piece.append(i)
        pixels += height * width
    if piece:
        yield piece

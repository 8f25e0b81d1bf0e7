"""Split rollouts: an epoch's pictures made by whoever has time, as files of a run's folder; the run learns from them.

    rollouts/epoch-000003/rows-000016-000032.safetensors    16 pictures of the fourth epoch (numbers from 0)
    rollouts/epoch-000003/rows-000016-000032.claim          somebody is at work on them

A part holds `latents` (n, C, h, w) float32, the finished ones, scaled as the UNet sees them, and `scores` (k, n)
float64, one row a column of the rewards; its notes say the epoch, the rows, their prompts and seeds, the columns, and
what run it is for. Which pictures an epoch has follows from the run's settings alone (`plan_epoch`), and their seeds
say what they are, so it does not matter who makes them: another process, another machine with the same folder, or a
program of your own that writes this format. Parts that do not fit are made anew, and said.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from ..core.errors import TastemakerError
from ..core.files import check_own, own_folder
from ..core.progress import Progress
from .epoch import Epoch
from .run.checkpoint import write_safetensors

log = logging.getLogger(__name__)

FORMAT = "tastemaker-rollout-1"
FOLDER = "rollouts"
STALE_SECONDS = 900.0  # a claim so old was somebody's who is no more
MAX_PART_BYTES = 2**32
_PAUSE = 0.2  # seconds between two looks for others' parts
_LEAST = 16  # pictures of a part, where groups are smaller


class Part(NamedTuple):
    """Some rows of an epoch: finished latents (n, C, h, w), and each column's scores (n,)."""

    latents: torch.Tensor
    columns: dict[str, torch.Tensor]


Make = Callable[[range], Part]


def identity_of(same: Mapping[str, object]) -> str:
    """Return a short name of what must be the same for parts to fit a run: settings, model, rewards, prompts."""
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def units(count: int, group_size: int) -> list[range]:
    """Return the rows of each part of an epoch of `count` pictures: whole groups, 16 pictures or more."""
    size = group_size * max(1, _LEAST // group_size)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


class SharedRollouts:
    """The parts of one run's epochs, in its folder.

    Args:
        folder: the run's, without links in it.
        identity: of the run, see `identity_of`.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder / FOLDER, identity

    def collect(self, epoch: Epoch, parts: Sequence[range], make: Make, progress: Progress) -> list[Part]:
        """Return every part of an epoch, in order: made here where nobody has claimed it, else waited for.

        A claim older than `STALE_SECONDS` is taken over. Raises InputError where the folder cannot be written.
        """
        folder = own_folder(self._folder / f"epoch-{epoch.number:06d}")
        found: dict[int, Part] = {}
        while True:
            for i, rows in enumerate(parts):
                progress.check_cancelled()
                part = None if i in found else self._read(self._path(folder, rows), epoch, rows)
                if i not in found and part is None and self._claim(folder, rows):
                    part = self._made(folder, epoch, rows, make)
                if part is not None:
                    found[i] = part
            if len(found) == len(parts):
                break
            time.sleep(_PAUSE)
        self._forget(epoch.number - 1)
        return [found[i] for i in range(len(parts))]

    def help(self, epoch: Epoch, parts: Sequence[range], make: Make, progress: Progress) -> int:
        """Make what nobody else has or is at; return how many parts that were."""
        folder, made = own_folder(self._folder / f"epoch-{epoch.number:06d}"), 0
        for rows in parts:
            if not self._path(folder, rows).exists() and self._claim(folder, rows):
                progress.check_cancelled()
                self._made(folder, epoch, rows, make)
                made += 1
        return made

    # --- files ------------------------------------------------------------------------------------

    def _path(self, folder: Path, rows: range) -> Path:
        return folder / f"rows-{rows.start:06d}-{rows.stop:06d}.safetensors"

    def _claim(self, folder: Path, rows: range) -> bool:
        """Whether these rows are now ours to make: nobody's so far, or whose claim is stale."""
        path = self._path(folder, rows).with_suffix(".claim")
        with suppress(FileNotFoundError):
            if time.time() - os.lstat(path).st_mtime > STALE_SECONDS:
                log.warning("%s is taken over: nobody has finished it.", path.name)
                path.unlink(missing_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return False
        return True

    def _made(self, folder: Path, epoch: Epoch, rows: range, make: Make) -> Part:
        path = self._path(folder, rows)
        try:
            part = make(rows)
            notes = {
                "format": FORMAT,
                "run": self._identity,
                "epoch": str(epoch.number),
                "rows": json.dumps([rows.start, rows.stop]),
                "prompts": json.dumps([epoch.prompts[i] for i in rows]),
                "seeds": json.dumps([str(epoch.seeds[i]) for i in rows]),
                "columns": json.dumps(list(part.columns)),
            }
            scores = torch.stack([column.double() for column in part.columns.values()])
            write_safetensors(path, {"latents": part.latents.contiguous(), "scores": scores}, notes)
        finally:
            path.with_suffix(".claim").unlink(missing_ok=True)  # whoever was stopped lets others do it
        return part

    def _read(self, path: Path, epoch: Epoch, rows: range) -> Part | None:
        """Read a part; None where there is none. One that does not fit is removed, and said."""
        if not path.exists():
            return None
        try:
            check_own(path, MAX_PART_BYTES)
            with safe_open(path, framework="pt") as file:
                notes, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in ("latents", "scores")}
            return _checked(notes, tensors, epoch, rows, self._identity)
        except (OSError, SafetensorError, TastemakerError, ValueError, KeyError, TypeError) as e:
            log.warning("%s is made anew: %s.", path.name, str(e)[:200])
            with suppress(OSError):
                path.unlink()
            return None

    def _forget(self, number: int) -> None:
        """Remove an epoch's parts: what was learned is in the checkpoint."""
        folder = self._folder / f"epoch-{number:06d}"
        with suppress(OSError):
            for path in list(folder.iterdir()):
                path.unlink()
            folder.rmdir()


def _checked(
    notes: Mapping[str, str], tensors: Mapping[str, torch.Tensor], epoch: Epoch, rows: range, identity: str
) -> Part:
    """Return a part that is what it should be. Raises ValueError, KeyError or TypeError for any other."""
    wanted = {"format": FORMAT, "run": identity, "epoch": str(epoch.number)}
    odd = [name for name, value in wanted.items() if notes.get(name) != value]
    if odd:
        raise ValueError(f"its {odd[0]} is another")
    if json.loads(notes["rows"]) != [rows.start, rows.stop]:
        raise ValueError("its rows are others")
    if json.loads(notes["prompts"]) != [epoch.prompts[i] for i in rows]:
        raise ValueError("its prompts are others")
    if json.loads(notes["seeds"]) != [str(epoch.seeds[i]) for i in rows]:
        raise ValueError("its seeds are others")
    names = json.loads(notes["columns"])
    latents, scores = tensors["latents"], tensors["scores"]
    if latents.ndim != 4 or latents.dtype != torch.float32 or len(latents) != len(rows):
        raise ValueError("its latents have another shape")
    if scores.shape != (len(names), len(rows)) or scores.dtype != torch.float64:
        raise ValueError("its scores have another shape")
    if not torch.isfinite(latents).all() or not torch.isfinite(scores).all():
        raise ValueError("it holds NaN or infinity")
    return Part(latents, dict(zip(map(str, names), scores, strict=True)))


def joined(parts: Sequence[Part]) -> Part:
    """Join parts in their order. Raises ValueError where their columns are not the same."""
    names = list(parts[0].columns)
    if any(list(part.columns) != names for part in parts):
        raise ValueError("Parts of one epoch have other columns.")
    columns = {name: torch.cat([part.columns[name] for part in parts]) for name in names}
    return Part(torch.cat([part.latents for part in parts]), columns)

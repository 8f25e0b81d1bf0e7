"""Score all units of a plan, this process's share of them, and gather when they are done."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.files import own_folder, write_atomic
from ...core.progress import Progress
from ...core.runs import first_difference, kept_identity, writing
from ...core.shares import Share
from ..scoring import score_pictures
from .gathered import gather
from .parts import Row, is_done, write_part
from .plan import Plan, load_rewards
from .units import FILE, Unit, list_units, read_pieces, read_units

if TYPE_CHECKING:
    import torch

    from ...rewards.reward import Reward

log = logging.getLogger(__name__)

_CONFIG = "config.json"


def rank_plan(
    plan: Plan,
    *,
    share: Share | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[Path]:
    """Rank what a plan says, or go on where it stopped; return the files to look at, in the process that gathers.

    A kill at any moment loses the unit in work alone. Processes share nothing but the folder, and no lock: each part
    has one writer. Raises InputError for a plan that differs from the folder's, and what rewards raise.
    """
    share, progress = share or Share(), progress or Progress()
    reward = load_rewards(plan, device)
    with writing(plan.path(plan.output)):
        plan.path(plan.output).mkdir(parents=True, exist_ok=True)
    output = Path(os.path.realpath(plan.path(plan.output)))
    _check_identity(output, json.loads(json.dumps({**plan.identity, "fingerprint": reward.fingerprint or ""})))
    if share.rank == 0 or not share.gathers:
        list_units(plan, output / FILE)
    share.wait()
    count = sum(1 for _ in read_units(plan, output / FILE))
    if not count:
        raise InputError("pictures", ", ".join(plan.pictures), "There are no pictures and no shards in them.")
    _score(plan, output, reward, share, count, progress)
    share.wait()
    if not share.gathers:
        return []
    left = [number for number in range(count) if not is_done(output, number)]
    if left:  # a job array whose other jobs are still at work
        raise InputError("output", output.name, f"{len(left)} of {count} units are not done. Run their shares first.")
    return gather(plan, output, output / FILE, list(reward.column_names))


def _check_identity(output: Path, wanted: dict[str, object]) -> None:
    path = output / _CONFIG
    try:
        found = kept_identity(path)
    except ValueError as e:
        raise InputError("output", path.name, f"It {e}. Give the plan another output folder.") from e
    if found is None:
        with writing(path):
            write_atomic(own_folder(output) / _CONFIG, json.dumps({"identity": wanted}, indent=1).encode())
        return
    odd = first_difference(found, wanted)
    if odd:
        advice = f"The folder holds scores of another plan: {odd} differs. Set it back, or name another output."
        raise InputError("output", output.name, advice)


def _score(plan: Plan, output: Path, reward: Reward, share: Share, count: int, progress: Progress) -> None:
    left = {number for number in share.numbers(count) if not is_done(output, number)}
    progress.phase("ranking", len(left))
    began, pictures = time.monotonic(), 0
    for number, unit in read_units(plan, output / FILE):
        if number not in left:
            continue
        progress.check_cancelled()
        rows = list(_rows(plan, unit, reward))
        write_part(output, number, rows)
        pictures += len(rows)
        rate = pictures / max(time.monotonic() - began, 1e-9)
        log.info("unit %d of %d: %d pictures, %.1f a second", number + 1, count, len(rows), rate)
        progress.advance()


def _rows(plan: Plan, unit: Unit, reward: Reward) -> Iterator[Row]:
    """Score a unit, piece by piece."""
    for piece in read_pieces(plan, unit):
        broken = [Row(name, problem=why) for name, why in piece.broken]
        if piece.names:
            scored = score_pictures(piece.pictures, piece.prompts, reward, seeds=piece.seeds, allow_none=True)
            columns = {name: column.tolist() for name, column in scored.table.scores.items()}
            for row, place in enumerate(scored.places):
                scores = {name: values[row] for name, values in columns.items()}
                yield Row(piece.names[place], piece.prompts[place], piece.seeds[place], scores)
            whole = set(scored.places)
            lost = (name for place, name in enumerate(piece.names) if place not in whole)
            broken += [Row(name, problem=why) for name, (_, why) in zip(lost, scored.broken, strict=True)]
        yield from broken

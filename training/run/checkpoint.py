"""Checkpoints: one safetensors file each, with JSON in its header. No pickles.

A file holds the weights, the optimizer, the moving average, the score history and how far the run is.
Randomness has no state to hold (`randomness.py`). A file is written beside its name and renamed, so
that a kill at any moment leaves the one before as it was.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...core.errors import ModelFileError
from ...core.files import check_own, check_real, replacing, unwritable
from ...core.runs import not_written

log = logging.getLogger(__name__)

FORMAT = "tastemaker-ddpo-1"  # whatever the algorithm: the name stands in files
KEPT = 2  # newest checkpoints that stay; the one before the newest is there should that be damaged


class Checkpoint(NamedTuple):
    """Hold what a run goes on from: tensors by name, epochs done, updates made, score histories by column."""

    tensors: dict[str, torch.Tensor]
    epoch: int
    updates: int
    histories: dict[str, dict[str, list[float]]]


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to `path` whole or not at all. Raises InputError where the folder cannot be written."""
    try:
        check_real(path.parent)
        with replacing(path) as temporary:
            save_file(dict(tensors), temporary, dict(metadata))
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as e:
        raise not_written(path, e) from e


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove all but the newest two. Raises InputError; older ones are then intact."""
    path = folder / f"epoch-{checkpoint.epoch:06d}.safetensors"
    write_checkpoint(path, checkpoint)  # which has seen that the folder is no link
    for old in checkpoints(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint under any name. Raises InputError; what was there is then intact."""
    info = {"epoch": checkpoint.epoch, "updates": checkpoint.updates, "histories": checkpoint.histories}
    write_safetensors(path, checkpoint.tensors, {"format": FORMAT, "state": json.dumps(info, allow_nan=False)})


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint files of a folder, newest first."""
    return sorted(folder.glob("epoch-[0-9][0-9][0-9][0-9][0-9][0-9].safetensors"), reverse=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises ModelFileError for a file that is damaged or none of ours, and for weights of NaN."""
    try:
        check_own(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        if metadata.get("format") != FORMAT:
            raise ModelFileError(f"{path.name} is no checkpoint of a fine-tuning run.")
        info = json.loads(metadata["state"])
        found = Checkpoint(tensors, info["epoch"], info["updates"], info["histories"])
        _check(found)
    except ModelFileError:
        raise
    except OSError as e:
        raise ModelFileError(f"The checkpoint {path.name} cannot be read ({unwritable(e)}).") from e
    except _NONSENSE as e:
        raise ModelFileError(f"The checkpoint {path.name} is damaged ({str(e)[:200]}).") from e
    return found


# what safetensors and the numbers inside raise: an unknown format, a missing name, a depth no reader goes to
_NONSENSE = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError)


def _check(found: Checkpoint) -> None:
    """Raise ValueError for numbers that no run writes: one would end the run much later, or spoil it unseen."""
    if not all(type(n) is int and 0 <= n < 2**53 for n in (found.epoch, found.updates)):
        raise ValueError("how far it is makes no sense")
    for name, tensor in found.tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinity")
        if name.startswith("optimizer.step.") and not (tensor.ndim == 0 and 0 <= tensor.item() <= 2**53):
            raise ValueError(f"{name} is no number of steps")
    if not isinstance(found.histories, dict):
        raise ValueError("its scores are not laid out so")
    for histories in found.histories.values():
        if not isinstance(histories, dict) or not all(map(_is_scores, histories.values())):
            raise ValueError("its scores are no numbers")


def _is_scores(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) in (int, float) and abs(v) < math.inf for v in values)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, str]:
    """Return the newest checkpoint that can be read, None where there is no file; and what to say of those that cannot.

    One that is damaged is passed over with a warning for the one before.
    Raises ModelFileError when there are files and none can be read.
    """
    damaged: list[str] = []
    for path in checkpoints(folder):
        try:
            found = load_checkpoint(path)
        except ModelFileError as e:
            log.warning("%s Going on from the one before.", e)
            damaged.append(str(e))
        else:
            return found, f"{' '.join(damaged)} Went on from {path.name}, the one before." if damaged else ""
    if damaged:
        raise ModelFileError(f"{damaged[0]} No other is left: give the run another name to start anew.")
    return None, ""

"""Checkpoints: one safetensors file each, with JSON in its header. No pickles.

A file holds the weights, the optimizer, the moving average, the score history and how far the run is.
Randomness has no state to hold (`randomness.py`). A file is written beside its name and renamed, so
that a kill at any moment leaves the one before as it was.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...core.errors import InputError, ModelFileError

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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(dict(tensors), temporary, dict(metadata))
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as e:
        raise unwritable(path, e) from e
    finally:
        with suppress(OSError):
            temporary.unlink()


def unwritable(path: Path, error: Exception) -> InputError:
    """Return the error of a full disk, a folder that may not be written, and their kin."""
    reason = getattr(error, "strerror", None) or error
    return InputError("run_folder", path.name, f"It cannot be written ({reason}). What was there before is intact.")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove all but the newest two. Raises InputError; older ones are then intact."""
    path = folder / f"epoch-{checkpoint.epoch:06d}.safetensors"
    info = {"epoch": checkpoint.epoch, "updates": checkpoint.updates, "histories": checkpoint.histories}
    metadata = {"format": FORMAT, "state": json.dumps(info, allow_nan=False)}
    write_safetensors(path, checkpoint.tensors, metadata)
    for old in checkpoints(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint files of a folder, newest first."""
    return sorted(folder.glob("epoch-[0-9][0-9][0-9][0-9][0-9][0-9].safetensors"), reverse=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises ModelFileError for a file that is damaged or none of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        if metadata.get("format") != FORMAT:
            raise ModelFileError(f"{path.name} is no checkpoint of a fine-tuning run.")
        info = json.loads(metadata["state"])
        epoch, updates, histories = info["epoch"], info["updates"], info["histories"]
        if not all(isinstance(n, int) and n >= 0 for n in (epoch, updates)) or not isinstance(histories, dict):
            raise ValueError("its numbers make no sense")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        if isinstance(e, ModelFileError):
            raise
        raise ModelFileError(f"The checkpoint {path.name} is damaged ({e}).") from e
    return Checkpoint(tensors, epoch, updates, histories)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that can be read, None where there is no file.

    One that is damaged is passed over with a warning for the one before.
    Raises ModelFileError when there are files and none can be read.
    """
    damaged = []
    for path in checkpoints(folder):
        try:
            return load_checkpoint(path)
        except ModelFileError as e:
            log.warning("%s Going on from the one before.", e)
            damaged.append(str(e))
    if damaged:
        raise ModelFileError(f"{damaged[0]} No other is left: give the run another name to start anew.")
    return None

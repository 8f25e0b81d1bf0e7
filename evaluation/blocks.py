"""Work on many pictures in blocks, each kept in a file of its own: what resumes after a kill and is shared out.

Block b holds the pictures b * BLOCK to (b + 1) * BLOCK - 1. Process r of w works on blocks r, r + w, r + 2 w, ...;
what they found is put together in the order of the blocks, so that it is the same for any number of processes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..core.errors import InputError
from ..core.files import write_atomic
from .fid.features import FeatureRows

BLOCK = 64
_FORMAT = "tastemaker-block-1"


class Share:
    """Which blocks are this process's, and how it waits for the others.

    Args:
        rank, world: this is process `rank` of `world`.
        wait: returns when every process has called it; None: there is nobody to wait for.
        gathers: whether rank 0 puts the figures together; jobs that know nothing of each other leave that to a last
            call without shares.
    """

    def __init__(
        self, rank: int = 0, world: int = 1, wait: Callable[[], None] | None = None, *, gathers: bool = True
    ) -> None:
        if not 0 <= rank < world:
            raise InputError("share", f"{rank} of {world}", "Shares are counted from 0.")
        self.rank, self.world = rank, world
        self.wait = wait or (lambda: None)
        self.gathers = gathers and rank == 0

    def blocks(self, count: int) -> list[range]:
        """The pictures of each of this process's blocks."""
        return [places(b, count) for b in self.numbers(count)]

    def numbers(self, count: int) -> range:
        """The numbers of this process's blocks."""
        return range(self.rank, blocks_of(count), self.world)


def blocks_of(count: int) -> int:
    return math.ceil(count / BLOCK)


def places(block: int, count: int) -> range:
    return range(block * BLOCK, min((block + 1) * BLOCK, count))


def written(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises InputError where the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as e:
        advice = f"It cannot be written ({e.strerror or e}). What was there before is intact."
        raise InputError("run_folder", path.name, advice) from e


def _path(folder: Path, block: int, ending: str) -> Path:
    return folder / f"{block:06d}.{ending}"


# --- features ---------------------------------------------------------------------------------


def save_features(folder: Path, block: int, found: FeatureRows) -> None:
    """Keep the features of a block; the places in `found` are of the whole set."""
    tensors = {"features": found.features, "kept": torch.tensor(found.kept, dtype=torch.long)}
    metadata = {"format": _FORMAT, "broken": json.dumps(found.broken)}
    written(_path(folder, block, "safetensors"), save(tensors, metadata))


def has_features(folder: Path, block: int, width: int) -> bool:
    """Whether a block is done; one that is damaged is not."""
    try:
        kept, _, stored = _header(_path(folder, block, "safetensors"))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False
    return stored == [len(kept), width]


def _header(path: Path) -> tuple[list[int], list[tuple[int, str]], list[int]]:
    """(places kept, broken, shape of the features) of a block's file."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise ValueError("another format")
        broken = [(int(i), str(why)) for i, why in json.loads(metadata["broken"])]
        return file.get_tensor("kept").tolist(), broken, file.get_slice("features").get_shape()


class StoredFeatures:
    """Features of all blocks of a folder, read a few rows at a time: memory does not grow with their number.

    Attributes:
        kept: the places of the K pictures that could be read, in order.
        broken: (place, why) of the others.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._starts: list[int] = []  # the first row of each block
        self.kept: list[int] = []
        self.broken: list[tuple[int, str]] = []
        for block in range(blocks_of(count)):
            self._starts.append(len(self.kept))
            kept, broken, _ = _header(_path(folder, block, "safetensors"))
            self.kept += kept
            self.broken += broken

    def __len__(self) -> int:
        return len(self.kept)

    def rows(self, index: Sequence[int]) -> torch.Tensor:
        """Features (k, D) of some of the K rows, in the order given."""
        order = torch.tensor(index, dtype=torch.long)
        blocks = torch.bucketize(order, torch.tensor(self._starts), right=True) - 1
        found: torch.Tensor | None = None
        for block in blocks.unique().tolist():
            mine = blocks == block
            with safe_open(_path(self._folder, block, "safetensors"), framework="pt") as file:
                part = file.get_tensor("features")[order[mine] - self._starts[block]]
            if found is None:
                found = part.new_empty(len(order), part.shape[1])
            found[mine] = part
        return torch.empty(0, 0) if found is None else found

    def batches(self, index: Sequence[int] | None = None, size: int = 1024) -> Iterator[torch.Tensor]:
        """Rows in order, some at a time; all of them without an index."""
        index = range(len(self)) if index is None else index
        for first in range(0, len(index), size):
            yield self.rows(list(index[first : first + size]))


# --- scores -----------------------------------------------------------------------------------


def save_scores(folder: Path, block: int, kept: Sequence[int], columns: dict[str, list[float]], broken: Any) -> None:
    """Keep the scores of a block, by the places of the pictures that could be scored."""
    record = {"format": _FORMAT, "kept": list(kept), "columns": columns, "broken": broken}
    written(_path(folder, block, "json"), json.dumps(record, allow_nan=False).encode())


def load_scores(folder: Path, block: int) -> dict[str, Any] | None:
    """What `save_scores` kept; None where a block is not done, or damaged."""
    try:
        record = json.loads(_path(folder, block, "json").read_text(encoding="utf-8"))
        good = record["format"] == _FORMAT and all(len(c) == len(record["kept"]) for c in record["columns"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if good else None

"""Work on many pictures in blocks, each kept in a file of its own: what resumes after a kill and is shared out.

Block b holds the pictures b * BLOCK to (b + 1) * BLOCK - 1. `core.shares` says which are whose; what was found is put
together in the order of the blocks, so that it is the same for any number of processes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..core.errors import InputError
from ..core.files import check_own, own_folder, read_own, write_atomic
from ..core.runs import writing
from .fid.features import FeatureRows

BLOCK = 64
_FORMAT = "tastemaker-block-1"


def blocks_of(count: int) -> int:
    """Return how many blocks so many pictures make."""
    return math.ceil(count / BLOCK)


def block_range(block: int, count: int) -> range:
    """Return the indices of the pictures of a block."""
    return range(block * BLOCK, min((block + 1) * BLOCK, count))


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, into a folder by its real path, made where it is not there.

    Raises InputError where it cannot be written, or a link stands where one of its folders belongs.
    """
    with writing(path):
        own_folder(path.parent)
        write_atomic(path, data)


def _path(folder: Path, block: int, ending: str) -> Path:
    return folder / f"{block:06d}.{ending}"


# --- features ---------------------------------------------------------------------------------


def save_features(folder: Path, block: int, found: FeatureRows) -> None:
    """Keep the features of a block; the indices in `found` are of the whole set."""
    tensors = {"features": found.features, "kept": torch.tensor(found.kept, dtype=torch.long)}
    metadata = {"format": _FORMAT, "broken": json.dumps(found.broken)}
    write_file(_path(folder, block, "safetensors"), save(tensors, metadata))


def has_features(folder: Path, block: int, width: int) -> bool:
    """Say whether a block is done; one that is damaged is not."""
    try:
        path = _path(folder, block, "safetensors")
        kept, _, stored = _header(path, block)
        return stored == [len(kept), width] and _are_numbers(path)
    except _DAMAGED:
        return False


def _are_numbers(path: Path) -> bool:
    """Whether the features of a block's file are numbers."""
    with safe_open(path, framework="pt") as file:
        return bool(torch.isfinite(file.get_tensor("features")).all())


# what safetensors, JSON and the numbers in them raise where a file is not as it was written
_DAMAGED = (
    *(SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError),
    NotImplementedError,  # a number format that torch does not have
)


def _header(path: Path, block: int) -> tuple[list[int], list[tuple[int, str]], list[int]]:
    """Return (indices kept, broken, shape of the features) of a block's file. Raises one of `_DAMAGED`."""
    check_own(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise ValueError("another format")
        broken = _read_broken(json.loads(metadata["broken"]), block)
        shape = file.get_slice("kept").get_shape()
        if len(shape) != 1 or shape[0] > BLOCK:
            raise ValueError("more indices than a block has")
        return _read_indices(file.get_tensor("kept").tolist(), block), broken, file.get_slice("features").get_shape()


def _read_indices(kept: Any, block: int) -> list[int]:
    """Return indices of a block, in their order. Raises ValueError for anything else."""
    mine = range(block * BLOCK, (block + 1) * BLOCK)
    if not isinstance(kept, list) or not all(type(i) is int and i in mine for i in kept):
        raise ValueError("indices that are not of this block")
    if kept != sorted(set(kept)):
        raise ValueError("indices that are not in their order")
    return kept


def _read_broken(found: Any, block: int) -> list[tuple[int, str]]:
    """Return (index, why) of a block's pictures that cannot be used. Raises ValueError, TypeError for anything else."""
    pairs = [(i, why) for i, why in found]
    if not all(isinstance(why, str) for _, why in pairs):
        raise ValueError("reasons that are no text")
    return list(zip(_read_indices([i for i, _ in pairs], block), (why[:500] for _, why in pairs), strict=True))


class StoredFeatures:
    """Features of all blocks of a folder, read a few rows at a time: memory does not grow with their number.

    Attributes:
        kept: the indices of the K pictures that could be read, in order.
        broken: (index, why) of the others.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._starts: list[int] = []  # the first row of each block
        self.kept: list[int] = []
        self.broken: list[tuple[int, str]] = []
        for block in range(blocks_of(count)):
            self._starts.append(len(self.kept))
            try:
                kept, broken, _ = _header(_path(folder, block, "safetensors"), block)
            except _DAMAGED as e:
                raise _gone(folder, block, "Features") from e
            self.kept += kept
            self.broken += broken

    def __len__(self) -> int:
        return len(self.kept)

    def rows(self, index: Sequence[int]) -> torch.Tensor:
        """Return features (k, D) of some of the K rows, in the order given."""
        order = torch.tensor(index, dtype=torch.long)
        blocks = torch.bucketize(order, torch.tensor(self._starts), right=True) - 1
        found: torch.Tensor | None = None
        for block in blocks.unique().tolist():
            mine = blocks == block
            part = self._features(block)[order[mine] - self._starts[block]]
            if found is None:
                found = part.new_empty(len(order), part.shape[1])
            found[mine] = part
        return torch.empty(0, 0) if found is None else found

    def _features(self, block: int) -> torch.Tensor:
        path = _path(self._folder, block, "safetensors")
        try:
            check_own(path)
            with safe_open(path, framework="pt") as file:
                features = file.get_tensor("features")
        except _DAMAGED as e:
            raise _gone(self._folder, block, "Features") from e
        if not torch.isfinite(features).all():
            raise _gone(self._folder, block, "Features that are numbers")
        return features

    def batches(self, index: Sequence[int] | None = None, size: int = 1024) -> Iterator[torch.Tensor]:
        """Yield rows in order, some at a time; all of them without an index."""
        index = range(len(self)) if index is None else index
        for first in range(0, len(index), size):
            yield self.rows(list(index[first : first + size]))


def _gone(folder: Path, block: int, what: str) -> InputError:
    why = f"{what} of a block are gone or damaged: run it again, which reads them anew."
    return InputError("run_folder", f"{folder.name}/{block:06d}", why)


# --- scores -----------------------------------------------------------------------------------


class BlockScores(NamedTuple):
    """Indices of the pictures of a block that could be scored, a column a reward, and (index, why) of the others."""

    kept: list[int]
    columns: dict[str, list[float]]
    broken: list[tuple[int, str]]


def save_scores(folder: Path, block: int, scores: BlockScores) -> None:
    """Keep the scores of a block."""
    record = {"format": _FORMAT, **scores._asdict()}
    write_file(_path(folder, block, "json"), json.dumps(record, allow_nan=False).encode())


def load_scores(folder: Path, block: int) -> BlockScores | None:
    """Return what `save_scores` kept; None where a block is not done, or damaged, or a score is not a number."""
    try:
        record = json.loads(read_own(_path(folder, block, "json"), _MAX_SCORES_BYTES).decode("utf-8"))
        if record["format"] != _FORMAT:
            return None
        kept, columns = _read_indices(record["kept"], block), record["columns"]
        good = isinstance(columns, dict) and all(_is_column(column, len(kept)) for column in columns.values())
        return BlockScores(kept, columns, _read_broken(record["broken"], block)) if good else None
    except _DAMAGED:
        return None


_MAX_SCORES_BYTES = 2**24
_LARGEST = torch.finfo(torch.float32).max  # scores are float32


def _is_column(column: Any, count: int) -> bool:
    numbers = isinstance(column, list) and all(type(v) in (int, float) for v in column)
    return numbers and len(column) == count and all(abs(v) <= _LARGEST for v in column)

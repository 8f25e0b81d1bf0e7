"""What a safetensors file says before its weights: what it is, the names and shapes of its tensors, its notes.

By Python's own JSON parser under limits of ours, not by the safetensors library: that one refuses a whole file for one
number format it does not know, where this says which model the file is. Of 913 tensors it takes 2.1 ms, and the
library 1.8 (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from ...core.errors import ModelFileError
from ...core.files import open_regular, parse_json
from .limits import MAX_COMPONENT_BYTES, MAX_HEADER_BYTES


class Header(NamedTuple):
    """The names and shapes of a file's tensors, and what it says of itself (`__metadata__`): texts by name."""

    shapes: dict[str, tuple[int, ...]]
    notes: dict[str, str]


def read_header(path: Path) -> Header:
    """Read a safetensors file's header, and no tensor.

    Raises ModelFileError saying what the file is when it is no safetensors file or a damaged one.
    """
    check_safetensors(path, path.name)
    with open_regular(path) as file:
        (length,) = struct.unpack("<Q", file.read(8))  # check_safetensors has compared it with a limit
        text = file.read(length)
    try:
        entries = parse_json(text)
    except ValueError as e:
        raise _damaged(path) from e
    notes = entries.pop("__metadata__", None) if isinstance(entries, dict) else None
    if not isinstance(entries, dict) or not all(_is_entry(entry) for entry in entries.values()):
        raise _damaged(path)
    texts = notes.items() if isinstance(notes, dict) else ()
    return Header(
        {name: tuple(entry["shape"]) for name, entry in entries.items()},
        {name: text for name, text in texts if isinstance(text, str)},
    )


def _damaged(path: Path) -> ModelFileError:
    return ModelFileError(f"{path.name} is damaged: its header cannot be read. Download it again.")


def _is_entry(entry: object) -> bool:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    return isinstance(shape, list) and all(type(side) is int and 0 <= side < 2**48 for side in shape)


def check_safetensors(path: Path, where: str) -> None:
    """Raise ModelFileError unless a file, `where` in messages, is a whole safetensors file by its ends."""
    if not path.is_file():
        raise ModelFileError(f"There is no file {path.name} in {path.parent.name}.")
    kind = describe_file(path)
    if kind != "safetensors":
        raise ModelFileError(f"{where} is {kind}; a safetensors file is needed.")


def describe_file(path: Path) -> str:
    """Return what a file is, from its first bytes: `safetensors`, or the name of what it is instead. Raises OSError."""
    with open_regular(path) as file:
        head = file.read(16)
        size = os.fstat(file.fileno()).st_size
    if size == 0:
        return "an empty file"
    # the first eight bytes are the header's length: one file in 32 happens to begin like a pickle
    if size < 10 or head[8:9] != b"{":
        if head[:1] == b"\x80" or head[:2] == b"PK":
            return "a pickle (a PyTorch .bin, .ckpt or .pt under another name)"
        if head.lstrip()[:1] == b"<":
            return "a web page (the download was refused, or the link was to a page)"
        if head[:7] == b"version":
            return "a Git LFS pointer (clone again with git-lfs installed)"
        return "not a safetensors file"
    (header,) = struct.unpack("<Q", head[:8])
    if header > size - 8:
        return "a truncated safetensors file (download it again)"
    if header > MAX_HEADER_BYTES:
        return f"a file with a header of {header:,} bytes, which no model has"
    if size > MAX_COMPONENT_BYTES:
        return f"a file of {size:,} bytes, which no model known here has"
    return "safetensors"

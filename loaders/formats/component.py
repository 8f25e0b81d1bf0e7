"""The official files of rewards, safetensors or pickled, read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...core.errors import ModelFileError
from .pickled import read_pickled
from .weights import DtypeOf, describe_file, read_json, read_safetensors

PICKLED = (".pt", ".pth", ".bin")
ENDINGS = (".safetensors", *PICKLED)


def read_weights(path: Path, dtype: DtypeOf = None, *, inside: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a file, floating ones as `dtype` (`loaders/formats/weights.py`).

    A pickled file is opened `weights_only`; `inside` names the entry of it that holds the weights.
    Raises ModelFileError saying what the file is instead.
    """
    if path.suffix.lower() == ".safetensors":
        return read_safetensors(path, dtype)
    if path.suffix.lower() not in PICKLED:
        raise ModelFileError(f"{path.name} is no weight file; its name ends in none of {', '.join(ENDINGS)}.")
    if path.is_file() and describe_file(path) == "safetensors":
        raise ModelFileError(f"{path.name} is a safetensors file under another name. Rename it.")
    return read_pickled(path, dtype, inside=inside)


def own_sizes(path: Path) -> dict[str, Any] | None:
    """What a `.json` of a weight file's own name beside it says of its sizes; None where there is none.

    Official files need none; a model of other sizes does. Raises ModelFileError for one that is not JSON.
    """
    beside = path.with_suffix(".json")
    return read_json(beside) if beside.is_file() else None

"""The official files of rewards, safetensors or pickled, read alike."""

from __future__ import annotations

from pathlib import Path

import torch

from ..loaders.errors import ModelFileError
from ..loaders.pickled import read_pickled
from ..loaders.weights import describe_file, read_safetensors

PICKLED = (".pt", ".pth", ".bin")
ENDINGS = (".safetensors", *PICKLED)


def read_weights(path: Path, dtype: torch.dtype | None = None, *, inside: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a file, floating ones as `dtype`.

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

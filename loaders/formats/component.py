"""Weights in whatever form they are published: safetensors or pickled, whole or in shards, old names or new.

This is where the reader is chosen; the readers themselves are in `weights.py` and `pickled.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import ModelFileError
from ...core.files import write_atomic
from ...core.texts import some
from .header import describe_file
from .pickled import read_pickled
from .tensors import DtypeOf
from .weights import find_weights, read_json, read_safetensors

if TYPE_CHECKING:
    import torch

PICKLED = (".pt", ".pth", ".bin")
ENDINGS = (".safetensors", *PICKLED)


def read_weights(path: Path, dtype: DtypeOf = None, *, inside: str | None = None) -> dict[str, torch.Tensor]:
    """Read the tensors of a file, floating ones as `dtype` (`tensors.DtypeOf`).

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
    """Return what a `.json` of a weight file's own name beside it says of its sizes; None where there is none.

    Official files need none; a model of other sizes does. Raises ModelFileError for one that is not JSON.
    """
    beside = path.with_suffix(".json")
    return read_json(beside) if beside.is_file() else None


def read_component(
    folder: Path, stem: str, *, prefer_half: bool, dtype: torch.dtype | None = None, pickles: bool = False
) -> dict[str, torch.Tensor]:
    """Read all tensors of a component of a model folder, cast to `dtype` one at a time.

    Raises ModelFileError for what `find_weights`, `read_safetensors` and `read_pickled` refuse, and for a
    tensor that two shards hold.
    """
    state: dict[str, torch.Tensor] = {}
    for path in find_weights(folder, stem, prefer_half=prefer_half, pickles=pickles):
        part = read_pickled(path, dtype) if path.suffix == ".bin" else read_safetensors(path, dtype)
        twice = state.keys() & part.keys()
        if twice:
            raise ModelFileError(f"{path.name} in {folder.name} holds {some(twice)}, which another shard holds too.")
        state.update(part)
    return state


_OLD_ATTENTION = re.compile(r"(.*\battentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict with the attention names of the first diffusers (`query`, `proj_attn`) made today's."""
    renamed = {}
    for key, tensor in state.items():
        old = _OLD_ATTENTION.fullmatch(key)
        renamed[f"{old[1]}.{_NEW_ATTENTION[old[2]]}.{old[3]}" if old else key] = tensor
    return renamed


# The entry that holds the weights, by the beginning of a reward file's name; of all others it is the whole file.
_INSIDE = {"model_large": "model", "HPS_": "state_dict"}


def to_safetensors(path: Path) -> Path:
    """Write the tensors of a pickled file, as they are stored, into a safetensors file beside it; return that file.

    The old file stays. Raises ModelFileError for a file that is none or whose copy is already there, and OSError
    when writing fails.
    """
    from safetensors.torch import save

    if path.suffix.lower() not in PICKLED:
        raise ModelFileError(f"{path.name} is no pickled file; its name ends in none of {', '.join(PICKLED)}.")
    target = path.with_suffix(".safetensors")
    if target.exists():
        raise ModelFileError(f"{target.name} is already there in {path.parent.name}. Remove it to convert again.")
    inside = next((entry for start, entry in _INSIDE.items() if path.name.startswith(start)), None)
    write_atomic(target, save(read_weights(path, inside=inside), metadata={"format": "pt"}))
    return target

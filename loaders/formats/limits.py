"""How large the parts of a model file or folder may be: beyond any real model, far below what hurts.

Files come from strangers. A number in one is checked here before anything is made in its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...core.errors import ModelFileError

MAX_JSON_BYTES = 4 * 2**20
MAX_HEADER_BYTES = 16 * 2**20  # the tensors' names and places, with training notes and a thumbnail
MAX_COMPONENT_BYTES = 64 * 2**30
MAX_PROGRAM_BYTES = 2**20  # of a pickle: a state dict has about 150 a tensor
MAX_PROGRAM_DEPTH = 100
MAX_PROGRAM_VALUES = 4 * 2**20  # in one value of it, those repeated counted as often, and the letters of texts
MAX_FILES = 200  # in a model folder
MAX_DEPTH = 12  # of folders in folders, and of lists in lists
MAX_VOCABULARY = 2**17

_MAX_INTEGER = 2**20
_MAX_LIST = 10_000  # trained_betas has one for each timestep
# what is repeated: a model of that many layers takes that long to build, even without its weights
_MAX_COUNTS = {
    "num_hidden_layers": 64,
    "layers_per_block": 8,
    "transformer_layers_per_block": 16,
    "reverse_transformer_layers_per_block": 16,
    "num_train_timesteps": 10_000,
    "max_position_embeddings": 1024,
    "vocab_size": MAX_VOCABULARY,
}
_LEAST = {"max_position_embeddings": 3}  # start and end of a text, and a token between them
_MAX_LEVELS = 8  # resolutions of a UNet or VAE


def check_sizes(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config whose numbers no real model has. `where` names the file.

    Raises ModelFileError naming the key.
    """
    for key, value in config.items():
        _check(value, _MAX_COUNTS.get(key, _MAX_INTEGER), f"{where}: {key}", 0)
        if isinstance(value, (int, float)) and value < _LEAST.get(key, -math.inf):
            raise ModelFileError(f"{where}: {key} is {value}; it must be at least {_LEAST[key]}.")
        levels = "block" in key and isinstance(value, list)
        if levels and len(value) > _MAX_LEVELS:
            raise ModelFileError(f"{where}: {key} has {len(value)} levels; no known model has over {_MAX_LEVELS}.")


def _check(value: Any, largest: int, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ModelFileError(f"{name} is nested deeper than any config is.")
    if isinstance(value, (list, tuple)):
        if len(value) > _MAX_LIST:
            raise ModelFileError(f"{name} is a list of {len(value)} entries, longer than any config has.")
        for entry in value:
            _check(entry, largest, name, depth + 1)
    elif isinstance(value, dict):
        for entry in value.values():
            _check(entry, largest, name, depth + 1)
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= largest):
        raise ModelFileError(f"{name} is {str(value)[:40]}; no known model has more than {largest}.")

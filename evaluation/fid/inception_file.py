"""Inception's weight file: its names, where to get it, and the network with what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...core.errors import InputError, ModelFileError
from ...loaders.formats.component import read_weights
from ...loaders.formats.weights import fill

if TYPE_CHECKING:
    from .inception import Inception

SIDE, FEATURES = 299, 2048
FILE_NAMES = (
    "pt_inception-2015-12-05-6726825d.safetensors",
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.safetensors",
    "weights-inception-2015-12-05-6726825d.pth",
)
COMMAND = (
    'curl -L -o "ComfyUI/models/rewards/weights-inception-2015-12-05-6726825d.pth" '
    '"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"'
)


def find_inception(folders: Sequence[Path]) -> Path:
    """Return the weight file in one of the folders. Raises ModelFileError with the command that gets it."""
    found = next((p for name in FILE_NAMES for folder in folders if (p := Path(folder) / name).is_file()), None)
    if found is None:
        raise ModelFileError(
            f"inception-v3 needs {FILE_NAMES[1]} or {FILE_NAMES[3]} (the same file under two names) in models/rewards, "
            f"which is not there. To get it (0.1 GB), run this beside the ComfyUI folder: {COMMAND}\n"
        )
    return found


def load_inception(path: Path) -> Inception:
    """Load the official weights, `.pth` (opened `weights_only`) or the same tensors as safetensors, strictly.

    Raises InputError where torchvision is missing, ModelFileError with the names of missing, unexpected or misshapen
    keys.
    """
    try:
        from .inception import Inception
    except (ImportError, RuntimeError, OSError) as e:  # RuntimeError: one that was built for another torch
        advice = (
            f"It needs torchvision, which cannot be imported ({e}): pip install torchvision, the one of your torch."
        )
        raise InputError("features", "inception-v3", advice) from e

    state = read_weights(path, torch.float32)
    with torch.device("meta"):
        network = Inception()
    counters = {k for k in network.state_dict() if k.endswith("num_batches_tracked")}  # old files have none
    state = {**{k: torch.zeros((), dtype=torch.long) for k in counters}, **state}
    fill(network, state, where=path.name)
    if any((v < 0).any() for k, v in state.items() if k.endswith("running_var")):
        raise ModelFileError(f"The weights of {path.name} hold a negative variance. Download the file again.")
    return network.for_features()

"""What the tests of evaluation share: an Inception file of the real layout with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

# where scripts/bootstrap.py puts torch-fidelity; behind everything else
sys.path.append(str(ROOT / ".venv" / "references"))


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official file's keys and shapes, as a pickle, with random weights that keep numbers moderate."""
    from tastemaker.evaluation.fid.inception import Inception
    from tastemaker.evaluation.fid.inception_file import FILE_NAMES

    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, value in Inception().state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif value.ndim == 4:
            fan_in = value[0].numel()
            state[key] = torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif key.endswith(("running_var", "bn.weight")):
            state[key] = 0.8 + 0.4 * torch.rand(value.shape, generator=generator)
        else:
            state[key] = 0.1 * torch.randn(value.shape, generator=generator)
    path = tmp_path_factory.mktemp("inception") / FILE_NAMES[3]
    torch.save(state, path)
    return path

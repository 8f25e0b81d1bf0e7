"""The pretended GPU and the tiny models on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.devices.pretended import PretendedGPU, pretended_gpu

DEVICE = "cuda:0"

# what the pretended GPU does to torch cannot be undone: `tests/development/test_pretended_gpu.py` has a process for it
collect_ignore_glob = [] if os.environ.get("PRETENDED_GPU") == "1" else ["test_*.py"]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGPU]:
    with pretended_gpu(monkeypatch) as made:
        yield made


@pytest.fixture(autouse=True)
def recorded(gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stand in for CUDA graphs: a wait in what is recorded is an error, as there. Counts replays of each recording."""
    from tastemaker.sampling import graphs

    replays: list[int] = []

    def record(function: Any, inputs: Any) -> Any:
        number = len(replays)
        replays.append(0)
        found = _without_waiting(gpu, function, inputs)

        def replay(*given: Any) -> Any:
            assert [t.shape for t in given] == [t.shape for t in inputs]
            replays[number] += 1
            return found.clone() if isinstance(found, torch.Tensor) else tuple(t.clone() for t in found)

        return replay

    monkeypatch.setattr(graphs, "record", record)
    return replays


def _without_waiting(gpu: PretendedGPU, function: Any, inputs: Any) -> Any:
    before = gpu.waits.total(), gpu.copies.total()
    found = function(*inputs)
    assert (gpu.waits.total(), gpu.copies.total()) == before, "a graph cannot be recorded where something waits"
    return found


@pytest.fixture
def there(gpu: PretendedGPU) -> Any:
    """Loads an embedded model onto the pretended GPU in float16."""
    from tastemaker.loaders import load_diffusion_model

    return lambda name="tiny-sdxl": load_diffusion_model(name, dtype=torch.float16, device=DEVICE)

"""Training forward on a pretended GPU: no mixture of devices, and what the host waits for is counted.

Gradients cannot be pretended: backward passes need a driver. They are computed on the CPU by the other tests.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tastemaker.core.progress import Progress
from tastemaker.training import FineTuneConfig, preset
from tastemaker.training.learner.memory import fitting_pairs
from tastemaker.training.rollout import Request
from tastemaker.training.worker import MOST_PAIRS, Worker
from tests.devices.pretended import PretendedGPU


def worker(model: Any, **changes: Any) -> Worker:
    told = {"samples_per_epoch": 4, "group_size": 2, "steps": 3, "height": 32, "width": 32, "targets": "attention"}
    return Worker(model, FineTuneConfig(**{**told, **changes}))


def test_a_rollout_waits_only_for_what_it_keeps(gpu: PretendedGPU, there: Any) -> None:
    request = Request(["a star", "a moon"], [1, 2])
    counts = []
    for steps in (3, 5):
        run = worker(there(), steps=steps)
        run.sample(request, Progress())
        gpu.reset()
        run.sample(request, Progress())
        counts.append(gpu.waits.total())
    assert counts[1] - counts[0] <= 2 * 2  # a step: its latents and its log-probability come to the CPU


@pytest.mark.parametrize("algorithm", ["clipped", "score", "matching"])
def test_every_algorithm_makes_its_pictures_there(gpu: PretendedGPU, there: Any, algorithm: str) -> None:
    run = worker(there(), algorithm=algorithm, updates_per_epoch=1)
    for base in (False, True):  # by what learns, and by the untrained model, as rehearsing needs
        latents = run.sample_latents(Request(["a star", "a moon"], [1, 2]), Progress(), base=base)
        assert latents.shape == (2, 4, 8, 8)
        assert latents.device.type == "cpu"
    assert run.gradient_scale == run.elements  # float16


def test_the_largest_preset_fills_the_card_it_is_on(gpu: PretendedGPU, there: Any) -> None:
    told = {"height": 32, "width": 32, "samples_per_epoch": 8, "group_size": 2}
    assert Worker(there(), preset("80 GB", **told)).train_batch_size == MOST_PAIRS


def test_fewer_pairs_learn_together_where_memory_is_short(gpu: PretendedGPU) -> None:
    device, gib = torch.device("cuda:0"), 2**30
    assert fitting_pairs(5 * gib, 10 * gib, 16, device) == 11  # 78 GB free, of which 85% may be filled
    assert fitting_pairs(5 * gib, 100 * gib, 16, device) == 1
    assert fitting_pairs(2**20, gib, 16, device) == 16

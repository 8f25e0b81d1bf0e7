"""What a first run on a GPU would stumble over, one by one."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from tastemaker.core.errors import NonFiniteError
from tastemaker.core.memory import fitting, placed
from tastemaker.rewards import load_reward
from tastemaker.sampling import SampleOptions, loop, sample
from tastemaker.sampling.decode import _at_once
from tastemaker.sampling.graphs import Graphed
from tastemaker.sampling.guidance import most_at_once
from tastemaker.sampling.preview import preview_picture
from tastemaker.training.learner.optimizer import LossScale
from tests.devices.pretended import PretendedGPU

CUDA = torch.device("cuda:0")


def test_rewards_run_in_half_precision_and_wait_once_a_batch(gpu: PretendedGPU) -> None:
    reward = load_reward("tiny-imagereward", device="cuda:0")
    assert next(reward.modules["network"].parameters()).dtype == torch.float16
    assert next(load_reward("tiny-imagereward").modules["network"].parameters()).dtype == torch.float32
    reward(torch.rand(4, 80, 96, 3), "a star")
    gpu.reset()
    assert reward(torch.rand(4, 80, 96, 3), "a star").shape == (4,)
    assert gpu.waits.total() <= 1
    assert gpu.copies.total() <= 8  # of a few numbers each: the pictures come from pinned memory


def test_a_batch_is_as_large_as_keeps_the_card_busy(gpu: PretendedGPU, there: Any) -> None:
    model = there()
    assert fitting(1, 500, CUDA, 16) == 16
    assert fitting(1, 500, torch.device("cpu"), 16) == 500  # a CPU is busy with one
    pixels = 128 * model.downscale  # as many latents as SDXL has at 1024 px
    assert most_at_once(model, pixels, pixels, 2) == 16
    assert most_at_once(model, pixels // 2, pixels // 2, 2) == 64
    assert most_at_once(model, 2 * pixels, 2 * pixels, 2) == 16
    assert _at_once(model, 4096, 4096, 50, False) * 2 * model.vae.config.block_out_channels[0] * 4096**2 < 2**31
    assert _at_once(model, 32, 32, 500, False) == 32


def test_a_preview_is_decoded_only_where_the_vae_is(
    gpu: PretendedGPU, there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls = there(), []
    monkeypatch.setattr("tastemaker.sampling.preview.decode", lambda *a: calls.append(a) or torch.zeros(1, 32, 32, 3))
    preview_picture(model, torch.zeros(1, 4, 8, 8))  # a host has the VAE on the GPU; these are elsewhere
    assert not calls
    preview_picture(model, torch.zeros(1, 4, 8, 8, device=CUDA))
    assert len(calls) == 1


def test_an_overflow_skips_the_update_and_halves_the_scale(caplog: pytest.LogCaptureFixture) -> None:
    def step(scale: float) -> float:
        if scale > 100:
            raise NonFiniteError("overflow")
        return 0.5

    scale = LossScale(256.0)
    with caplog.at_level(logging.WARNING):
        assert [scale.taken(step) for _ in range(3)] == [[], [], [0.5]]
    assert scale.value == 64.0
    assert "left out" in caplog.text


def test_overflows_without_end_are_an_error() -> None:
    def step(scale: float) -> float:
        raise NonFiniteError("overflow")

    scale = LossScale(1024.0)
    for _ in range(9):
        assert scale.taken(step) == []
    with pytest.raises(NonFiniteError):
        scale.taken(step)


@pytest.mark.parametrize(("settings", "speed"), [({"steps": 8}, "compile"), ({"steps": 12}, "fast")])
def test_few_steps_are_all_made(
    tiny_sdxl: Any, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], speed: str
) -> None:
    used = []

    class Seen(Exception):
        pass

    def network(*args: Any, options: SampleOptions, **kwargs: Any) -> None:
        used.append(options.speed)
        raise Seen

    monkeypatch.setattr(loop, "Network", network)
    with pytest.raises(Seen):
        sample(tiny_sdxl, "a star", options=SampleOptions(speed="fast"), **settings)
    assert used == [speed]


def test_what_the_host_left_elsewhere_is_moved_for_the_work_alone() -> None:
    class Left(nn.Linear):
        moves: tuple[Any, ...] = ()

        def to(self, device: Any) -> Left:  # type: ignore[override]
            self.moves = (*self.moves, torch.device(device).type)
            return self

    left, there = Left(2, 2), Left(2, 2)
    with placed([left], CUDA), placed([there], torch.device("cpu")):
        assert left.moves == ("cuda",)
        assert there.moves == ()
    assert left.moves == ("cuda", "cpu")
    assert there.moves == ()


def test_a_graph_is_recorded_in_the_second_call_of_a_shape(gpu: PretendedGPU, recorded: list[int]) -> None:
    calls = []

    def double(x: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(x.shape))
        return 2 * x

    graphed = Graphed(double)
    for count in (2, 2, 2, 3, 2):
        assert graphed(torch.ones(count, device=CUDA)).shape == (count,)
    assert calls == [(2,), (2,), (3,)]
    assert recorded == [3]
    assert torch.equal(graphed(torch.ones(4)), torch.full((4,), 2.0))  # the CPU has no graphs


def test_what_cannot_be_recorded_runs_as_it_is(gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    from tastemaker.sampling import graphs

    def refuses(function: Any, inputs: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", refuses)
    graphed = Graphed(lambda x: x + 1)
    assert [graphed(torch.ones(2, device=CUDA)).shape for _ in range(3)] == [(2,)] * 3


def test_memory_that_runs_out_while_recording_is_said(gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    from tastemaker.sampling import graphs

    def full(function: Any, inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graphs, "record", full)
    graphed = Graphed(lambda x: x + 1)
    graphed(torch.ones(2, device=CUDA))
    with pytest.raises(torch.OutOfMemoryError):
        graphed(torch.ones(2, device=CUDA))

"""Batches larger than memory: halved, reported, and the same pictures."""

from __future__ import annotations

import logging

import pytest
import torch

from tastemaker.core.errors import OutOfMemoryError
from tastemaker.core.memory import fitting, in_parts, is_out_of_memory
from tastemaker.sampling import SampleOptions, inputs, sample
from tastemaker.sampling.guidance import unet_bytes
from tests.recorded import Recorded

PROMPT = "a large red heart on a blue background"


class Small:
    """Work on rows that fails above a number of rows, as a small device would."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, []

    def __call__(self, rows: slice) -> torch.Tensor:
        self.taken.append(rows.stop - rows.start)
        if rows.stop - rows.start > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.arange(rows.start, rows.stop)


def test_the_size_is_halved_until_it_fits_and_stays(caplog) -> None:
    work = Small(3)
    with caplog.at_level(logging.WARNING):
        done = torch.cat(list(in_parts(10, 8, work, what="sampling", each="one")))
    assert done.tolist() == list(range(10))
    assert work.taken == [8, 4, 2, 2, 2, 2, 2]
    assert "going on with 4" in caplog.text
    assert "going on with 2" in caplog.text


def test_one_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(OutOfMemoryError, match="one picture of 9 x 9 does not fit"):
        list(in_parts(4, 4, Small(0), what="sampling", each="one picture of 9 x 9"))


def test_other_errors_are_not_taken_for_memory() -> None:
    def fail(rows: slice) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_parts(4, 4, fail, what="sampling", each="one"))


def test_what_counts_as_out_of_memory() -> None:
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."
    assert is_out_of_memory(RuntimeError(words))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError(words))


def test_an_estimate_grows_with_rows_and_area(tiny_sdxl) -> None:
    assert unet_bytes(tiny_sdxl, 128, 64, 2) == 4 * unet_bytes(tiny_sdxl, 64, 64, 1)
    assert fitting(2**60, 7, torch.device("cpu")) == 1
    assert fitting(1, 7, torch.device("cpu")) == 7


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp_sde", "dpmpp_2m"])
def test_running_out_in_the_middle_changes_no_picture(tiny_sdxl, monkeypatch, scheduler: str) -> None:
    """The UNet fails with more than 4 rows (2 pictures, guided), at its third call the first time."""
    call = {"scheduler": scheduler, "steps": 4, "eta": 1.0 if scheduler == "ddim" else 0.0, "seeds": [3, 4, 5]}
    want = sample(tiny_sdxl, PROMPT, **call)
    forward, calls, progress = tiny_sdxl.unet.forward, [], Recorded()

    def failing(rows: torch.Tensor, *args, **kwargs):
        calls.append(len(rows))
        if len(rows) > 4 and len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(rows, *args, **kwargs)

    monkeypatch.setattr(tiny_sdxl.unet, "forward", failing)
    got = sample(tiny_sdxl, PROMPT, **call, progress=progress)
    assert calls[:3] == [6, 6, 6]
    assert max(calls[3:]) == 2
    assert (got.images - want.images).abs().max() <= 1e-5
    done, total = progress.counts[-1]
    assert done == total
    assert progress.done[:4] == [3, 6, 0, 1]  # what was done before memory ran out is taken back


def test_at_once_limits_the_rows_of_a_call(tiny_sdxl, monkeypatch) -> None:
    forward, rows = tiny_sdxl.unet.forward, []

    def counting(x: torch.Tensor, *args, **kwargs):
        rows.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(tiny_sdxl.unet, "forward", counting)
    sample(tiny_sdxl, PROMPT, steps=1, seeds=range(5), options=SampleOptions(at_once=2))
    assert rows == [4, 4, 2]


def test_more_pictures_than_the_computer_can_hold_are_refused(tiny_sdxl, monkeypatch) -> None:
    monkeypatch.setattr(inputs, "free_bytes", lambda device: 4 * 2**30)
    with pytest.raises(OutOfMemoryError, match=r"1,000 pictures of 1024 x 1024 take 11\.7 GB .* 4\.0 GB are free"):
        sample(tiny_sdxl, PROMPT, seeds=range(1000), height=1024, width=1024)

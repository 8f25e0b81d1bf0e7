"""Batch sizes found by themselves: halved when memory runs out, grown where that pays."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tastemaker.core.errors import OutOfMemoryError
from tastemaker.core.memory import in_parts
from tastemaker.loaders import InputError
from tastemaker.rewards import custom
from tests.recorded import Recorded


def small_device(most: int):
    """A reward that fails above `most` pictures at once, as a small device would; and what it was given."""
    taken: list[int] = []

    def score(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        taken.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((1, 2, 3))

    return custom("small", score), taken


def test_out_of_memory_halves_the_batch_and_changes_no_score(caplog) -> None:
    reward, taken = small_device(3)
    images = torch.rand(11, 4, 4, 3)
    with caplog.at_level(logging.WARNING):
        scores = reward(images, "")
    assert torch.equal(scores, images.mean((1, 2, 3)))
    assert taken == [8, 4, 2, 2, 2, 2, 2, 1]
    assert "scoring with small with 8 at once: going on with 4" in caplog.text


def test_one_picture_that_does_not_fit_is_named() -> None:
    reward, _ = small_device(0)
    with pytest.raises(OutOfMemoryError, match="one picture of 6 x 4"):
        reward(torch.rand(2, 4, 6, 3), "")


def test_a_set_size_is_kept() -> None:
    reward, taken = small_device(100)
    replace(reward, batch_size=3)(torch.rand(7, 4, 4, 3), "")
    assert taken == [3, 3, 1]


def test_sizes_double_until_memory_has_run_out_once() -> None:
    taken: list[int] = []

    def work(rows: slice) -> torch.Tensor:
        taken.append(rows.stop - rows.start)
        if taken[-1] > 10:
            raise torch.OutOfMemoryError
        return torch.arange(rows.start, rows.stop)

    done = torch.cat(list(in_parts(40, 4, work, what="scoring", each="one", largest=64)))
    assert done.tolist() == list(range(40))
    assert taken == [4, 8, 16, 8, 8, 8, 4]


def test_progress_is_told_after_each_batch_and_may_stop_it() -> None:
    reward, taken = small_device(100)
    progress = Recorded()
    replace(reward, batch_size=2)(torch.rand(5, 4, 4, 3), "", progress=progress)
    assert progress.counts == [(2, 5), (4, 5), (5, 5)]

    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    taken.clear()
    with pytest.raises(KeyboardInterrupt):
        replace(reward, batch_size=2)(torch.rand(5, 4, 4, 3), "", progress=Recorded(stop))
    assert taken == [2]


def test_picture_files_of_different_sizes(tmp_path: Path) -> None:
    reward = custom("wide", lambda images, prompts: torch.full((len(images),), float(images.shape[2])))
    for number, width in enumerate((8, 16, 24)):
        Image.new("RGB", (width, 8)).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    assert reward.picture_columns(files, "")["wide"].tolist() == [8, 16, 24]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="broken.png"):
        reward.picture_columns([*files, tmp_path / "broken.png"], "")

"""What a run tells while it goes on, where it can be cancelled, and where its modules are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager

import pytest
import torch

from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel
from tastemaker.rewards.function import custom
from tastemaker.training import finetune

from .conftest import PROMPTS, Recorder, Said, brightness, quick, same, state, trained


def test_progress_counts_every_step_and_batch(small_sdxl: DiffusionModel) -> None:
    recorder = Recorder()
    run = finetune(small_sdxl, brightness, PROMPTS, quick(rollout_batch_size=4, sample_every=2), progress=recorder)
    list(run)
    said = recorder.said
    sampling = [p.done for p in said if p.epoch == 1 and p.phase == "sampling"]
    assert sampling == [4, 8, 12, 16, 20, 24, 28, 32, 32]  # once more before the pictures are decoded
    learning = [p for p in said if p.epoch == 2 and p.phase == "learning"]
    assert learning[-1].done == learning[-1].total == run.reports[1].pairs
    assert {p.phase for p in said if p.epoch == 2} == {"sampling", "scoring", "learning", "samples"}
    assert said[0].seconds_left is None
    assert said[-1].seconds_left > 0
    assert run.reports[1].grid.shape == (8, 32, 32, 3)
    assert run.reports[0].grid is None


class Plain(Progress):
    """A progress of any long work: it knows no epochs."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append(name)


def test_any_progress_will_do(small_ddpm: DiffusionModel) -> None:
    plain = Plain()
    list(finetune(small_ddpm, brightness, "", quick(), progress=plain))
    assert plain.phases == ["sampling", "scoring", "learning"] * 2


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize(("phase", "epoch"), [("sampling", 1), ("scoring", 2), ("learning", 2)])
def test_cancel_goes_back_to_the_last_whole_epoch(phase: str, epoch: int, small_sdxl: DiffusionModel) -> None:
    def cancel(said: Said) -> None:
        half = said.done * 2 >= said.total or phase == "scoring"
        if (said.phase, said.epoch) == (phase, epoch) and half:
            raise Cancelled

    run = finetune(small_sdxl, brightness, PROMPTS, quick(epochs=3), progress=Recorder(cancel))
    with pytest.raises(Cancelled):
        list(run)
    assert run.epoch == epoch - 1
    assert not any(m._forward_hooks for m in small_sdxl.unet.modules())
    assert list(run) == []
    if epoch == 2:
        assert same(state(run), state(trained(small_sdxl, epochs=1)))


def test_modules_are_placed_where_they_compute(small_sdxl: DiffusionModel) -> None:
    """Text encoders only until the prompts are known; nothing stays in place between epochs."""
    placed: list[tuple[str, ...]] = []
    inside = 0
    names = {module: name for name, module in small_sdxl.modules.items()}

    @contextmanager
    def place(modules: Iterable[torch.nn.Module], working_bytes: int = 0):
        nonlocal inside
        inside += 1
        placed.append(tuple(names[module] for module in modules))
        yield
        inside -= 1

    run = finetune(small_sdxl, brightness, PROMPTS[:2], quick(), place=place)
    next(run)
    assert inside == 0
    assert placed.count(("text_encoder", "text_encoder_2")) == 1
    placed.clear()
    next(run)
    assert placed == [("unet",), ("vae",), ("unet",)]


def said_of(phase: str, model: DiffusionModel, reward=brightness, **changes) -> list[int]:
    """How much was done at each message of one phase of the first epoch."""
    recorder = Recorder()
    next(finetune(model, reward, PROMPTS if model.conditional else "", quick(**changes), progress=recorder))
    return [said.done for said in recorder.said if said.phase == phase]


def test_computing_old_probabilities_can_be_cancelled(small_ddpm: DiffusionModel) -> None:
    """8 pictures, 2 of 3 steps each, in 2 updates of 2 batches: those of the second are computed before the first."""
    assert said_of("learning", small_ddpm) == [4, 8, 12, 16]
    assert said_of("learning", small_ddpm, old_log_probs="recompute") == [0, 0, 4, 8, 12, 16]


def test_decoding_can_be_cancelled(small_ddpm: DiffusionModel) -> None:
    """24 pictures at once, 4 steps, then 8 at a time to the VAE."""
    assert said_of("sampling", small_ddpm, samples_per_epoch=24) == [24, 48, 72, 96, 96, 96, 96]


def test_scoring_counts_each_batch(small_ddpm: DiffusionModel) -> None:
    ours = custom("ours", brightness, batch_size=3)
    assert said_of("scoring", small_ddpm, ours) == [0, 3, 6, 8, 8]
    assert said_of("scoring", small_ddpm) == [0, 8]
    assert said_of("scoring", small_ddpm, [(brightness, 1.0), (ours, 1.0)]) == [0, 8, 11, 14, 16, 16]

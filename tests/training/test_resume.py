"""Run folders: a kill at any point loses nothing, and what cannot be gone on from is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tastemaker.loaders import DiffusionModel, InputError, ModelFileError
from tastemaker.loaders.lora.read import read_lora
from tastemaker.training import finetune
from tastemaker.training.run.checkpoint import checkpoints, load_checkpoint
from tests.conftest import ROOT

from .conftest import PROMPTS, Recorder, Said, brightness, quick, redness


def process(folder: Path, where: str, count: int, *algorithm: str) -> int:
    command = [sys.executable, "-m", "tests.training.interrupted", str(folder), where, str(count), *algorithm]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr[-3000:]
    return done.returncode


def equal(one: Any, other: Any) -> bool:
    """Whether two runs' LoRAs are the same to the bit."""
    first, second = one.lora_state(), other.lora_state()
    return set(first) == set(second) and all(torch.equal(first[k], second[k]) for k in first)


def result(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], Any]:
    """Weights, optimizer, average and metrics of a run; what took how long is left out."""
    newest = load_checkpoint(checkpoints(folder / "checkpoints")[0])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return newest.tensors, [{k: v for k, v in line.items() if k != "seconds"} for line in lines], newest[1:]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert process(folder, "never", 0) == 0
    return folder


# the counts: 5 calls of sampling and 4 of learning an epoch at most; 3 files an epoch with a grid, 2 without; of what
# safetensors writes every second one is a checkpoint
@pytest.mark.parametrize(
    ("where", "count"),
    [("sampling", 1), ("sampling", 7), ("learning", 5), ("metrics", 2), ("between", 4), ("checkpoint", 4)]
    + [("renamed", 1)],
)
def test_a_kill_anywhere_loses_nothing(where: str, count: int, uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert process(folder, where, count) == 9
    for path in checkpoints(folder / "checkpoints"):
        load_checkpoint(path)  # every file that has its name is whole
    assert process(folder, "never", 0) == 0
    assert_same_run(folder, uninterrupted)


@pytest.mark.parametrize("algorithm", ["matching", "reward_gradient"])
def test_a_kill_loses_nothing_whatever_the_algorithm(algorithm: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(whole, "never", 0, algorithm) == 0
    assert process(killed, "learning", 3, algorithm) == 9
    assert process(killed, "never", 0, algorithm) == 0
    assert_same_run(killed, whole)


def assert_same_run(folder: Path, uninterrupted: Path) -> None:
    """Bit-equal weights, optimizer, average, score history, metrics and LoRA to the run that was never killed."""
    tensors, metrics, rest = result(folder)
    expected_tensors, expected_metrics, expected_rest = result(uninterrupted)
    assert set(tensors) == set(expected_tensors)
    assert all(torch.equal(tensors[k], expected_tensors[k]) for k in tensors)
    assert metrics == expected_metrics
    assert rest == expected_rest
    ours, theirs = (load_file(f / "lora.safetensors") for f in (folder, uninterrupted))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert not list(folder.rglob("*.part"))


@pytest.fixture
def small(small_ddpm: DiffusionModel) -> DiffusionModel:
    return small_ddpm


def test_what_a_run_leaves(small: DiffusionModel, tmp_path: Path) -> None:
    folder = tmp_path / "my taste"
    run = finetune(small, brightness, "", quick(sample_every=1, rank=2, alpha=1.0), run_folder=folder)
    assert [report.grid.shape for report in run] == [(8, 8, 8, 3)] * 2
    assert [report.grid for report in run.reports] == [None, None]  # those of a long run would fill the memory
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "epoch-000001.safetensors",
        "epoch-000002.safetensors",
    ]
    assert [json.loads(x)["epoch"] for x in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    with Image.open(folder / "samples" / "epoch-000002.png") as grid:
        assert grid.size == (4 * 8, 2 * 8)
    lora = read_lora(folder / "lora.safetensors")
    assert {layer.alpha for layer in lora.layers.values()} == {1.0}
    assert {layer.rank for layer in lora.layers.values()} == {2}
    assert all(key.startswith("lora_unet_") for key in run.lora_state())
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["rank"] == 2
    assert config["identity"]["model"] == small.fingerprint


def test_a_finished_run_is_not_trained_again_and_can_be_made_longer(small: DiffusionModel, tmp_path: Path) -> None:
    first = finetune(small, brightness, "", quick(), run_folder=tmp_path / "run")
    list(first)
    again = finetune(small, brightness, "", quick(), run_folder=tmp_path / "run")
    assert again.finished
    assert list(again) == []
    assert [r.record() for r in again.reports] == [r.record() for r in first.reports]
    assert equal(again, first)
    longer = finetune(small, brightness, "", quick(epochs=3), run_folder=tmp_path / "run")
    assert [r.epoch for r in longer] == [3]
    whole = finetune(small, brightness, "", quick(epochs=3))
    list(whole)
    assert all(
        torch.equal(a, b) for a, b in zip(longer.lora_state().values(), whole.lora_state().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": quick(rank=3)}, "rank"),
        ({"config": quick(seed=5)}, "seed"),
        ({"reward": redness}, "rewards"),
        ({"prompts": PROMPTS[1:]}, "prompts"),
        ({"model": "tiny_sdxl"}, "model"),
    ],
    ids=["rank", "seed", "reward", "prompts", "model"],
)
def test_a_run_of_something_else_is_refused_by_name(
    changes: dict[str, Any], named: str, small_sdxl: DiffusionModel, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    given = {"model": small_sdxl, "reward": brightness, "prompts": PROMPTS, "config": quick(epochs=1)}
    list(finetune(**given, run_folder=tmp_path / "run"))
    if "model" in changes:
        changes = {"model": request.getfixturevalue(changes["model"])}
    with pytest.raises(InputError, match=rf"holds a run with another {named}\. Give this run another name"):
        finetune(**{**given, **changes}, run_folder=tmp_path / "run")
    assert finetune(**given, run_folder=tmp_path / "run").finished  # it was let go of


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "half":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        torch.save({"weights": torch.zeros(1)}, path)
    elif how == "header":
        path.write_bytes((2**40).to_bytes(8, "little") + data[8:])
    else:
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(1)}, path)


@pytest.mark.parametrize("how", ["half", "empty", "pickle", "header", "other"])
def test_a_damaged_checkpoint_falls_back_and_says_so(
    how: str, small: DiffusionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = finetune(small, brightness, "", quick(epochs=3), run_folder=tmp_path / "run")
    list(run)
    files = checkpoints(tmp_path / "run" / "checkpoints")
    damaged(files[0], how)
    again = finetune(small, brightness, "", quick(epochs=3), run_folder=tmp_path / "run")
    assert again.epoch == 2
    assert "epoch-000003.safetensors" in caplog.text
    list(again)
    assert equal(again, run)
    for path in checkpoints(tmp_path / "run" / "checkpoints"):
        damaged(path, how)
    with pytest.raises(ModelFileError, match="give the run another name"):
        finetune(small, brightness, "", quick(epochs=3), run_folder=tmp_path / "run")


def test_a_checkpoint_of_another_shape_is_refused(small: DiffusionModel, tmp_path: Path) -> None:
    for name, config in (("a", quick(epochs=1)), ("b", quick(epochs=1, rank=3))):
        list(finetune(small, brightness, "", config, run_folder=tmp_path / name))
    file = "checkpoints/epoch-000001.safetensors"
    shutil.copy(tmp_path / "b" / file, tmp_path / "a" / file)
    with pytest.raises(ModelFileError, match="The checkpoint is of another run"):
        finetune(small, brightness, "", quick(epochs=1), run_folder=tmp_path / "a")


def test_a_damaged_config_is_refused(small: DiffusionModel, tmp_path: Path) -> None:
    list(finetune(small, brightness, "", quick(epochs=1), run_folder=tmp_path / "run"))
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json of the run run is damaged"):
        finetune(small, brightness, "", quick(epochs=1), run_folder=tmp_path / "run")


def test_two_runs_on_one_folder_are_refused(small: DiffusionModel, tmp_path: Path) -> None:
    first = finetune(small, brightness, "", quick(), run_folder=tmp_path / "run")
    with pytest.raises(InputError, match="Another run is at work in it"):
        finetune(small, brightness, "", quick(), run_folder=tmp_path / "run")
    first.close()
    list(finetune(small, brightness, "", quick(), run_folder=tmp_path / "run"))


def test_a_full_disk_is_an_error_and_the_old_checkpoint_stays(
    small: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tastemaker.training.run import checkpoint

    run = finetune(small, brightness, "", quick(epochs=3), run_folder=tmp_path / "run")
    next(run)
    before = result(tmp_path / "run")[0]

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(InputError, match="cannot be written .No space left on device.*intact"):
            next(run)
    assert not list((tmp_path / "run").rglob("*.part"))
    after = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[0])
    assert after.epoch == 1
    assert all(torch.equal(before[k], after.tensors[k]) for k in before)
    again = finetune(small, brightness, "", quick(epochs=3), run_folder=tmp_path / "run")
    assert [r.epoch for r in again] == [2, 3]


def test_a_folder_that_cannot_be_made_is_an_error(small: DiffusionModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="run_folder: It cannot be written"):
        finetune(small, brightness, "", quick(), run_folder=tmp_path / "file" / "run")


class Cancelled(BaseException):
    pass


def test_cancel_saves_the_last_whole_epoch_though_none_was_due(small: DiffusionModel, tmp_path: Path) -> None:
    """With a checkpoint every 10 epochs and a cancel in the middle of the third's learning."""

    def cancel(said: Said) -> None:
        if (said.epoch, said.phase) == (3, "learning"):
            raise Cancelled

    config = quick(epochs=4, checkpoint_every=10)
    run = finetune(small, brightness, "", config, run_folder=tmp_path / "run", progress=Recorder(cancel))
    with pytest.raises(Cancelled):
        list(run)
    again = finetune(small, brightness, "", config, run_folder=tmp_path / "run")
    assert again.epoch == 2
    assert [r.epoch for r in again] == [3, 4]
    whole = finetune(small, brightness, "", config)
    list(whole)
    assert equal(again, whole)


@pytest.mark.parametrize(("every", "copies"), [(1, 5), (2, 5)])
def test_a_state_that_was_just_written_is_not_copied_again(
    every: int, copies: int, small: DiffusionModel, tmp_path: Path
) -> None:
    """Four epochs: a copy before the first, and one for each checkpoint; another only where none was due before."""
    config = quick(epochs=4, checkpoint_every=every)
    run = finetune(small, brightness, "", config, run_folder=tmp_path / "run")
    counted, state = [], run.learner.state
    run.learner.state = lambda: counted.append(1) or state()  # type: ignore[func-returns-value,method-assign]
    list(run)
    assert len(counted) == copies


def test_cancel_before_the_first_step_leaves_a_run_that_starts(small: DiffusionModel, tmp_path: Path) -> None:
    def cancel(said: Said) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        next(finetune(small, brightness, "", quick(), run_folder=tmp_path / "run", progress=Recorder(cancel)))
    assert checkpoints(tmp_path / "run" / "checkpoints") == []
    assert [r.epoch for r in finetune(small, brightness, "", quick(), run_folder=tmp_path / "run")] == [1, 2]


def test_a_full_fine_tune_resumes(small: DiffusionModel, tmp_path: Path) -> None:
    config = quick(train="full", learning_rate=1e-3, epochs=2)
    whole = finetune(small, brightness, "", config)
    list(whole)
    first = finetune(small, brightness, "", config, run_folder=tmp_path / "run")
    next(first)
    first.close()
    again = finetune(small, brightness, "", config, run_folder=tmp_path / "run")
    assert [r.epoch for r in again] == [2]
    one, two = (run.model.unet.state_dict() for run in (again, whole))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not (tmp_path / "run" / "lora.safetensors").exists()

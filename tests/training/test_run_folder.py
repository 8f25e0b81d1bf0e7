"""Run folders that somebody else had in hand: planted links, pipes, numbers that no run writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.core.runs import first_difference
from tastemaker.loaders import InputError, ModelFileError
from tastemaker.training.config import FineTuneConfig, identity
from tastemaker.training.run.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from tastemaker.training.run.folder import RunFolder, grid
from tastemaker.training.run.report import EpochReport
from tests.promptly import promptly

from .conftest import brightness, quick

IDENTITY = {"settings": identity(FineTuneConfig(rank=4)), "model": "m"}
FIGURES = {"loss": 0.0, "kl": 0.0, "ratio": 1.0, "clip_fraction": 0.0, "grad_norm": 1.0, "updates": 1}
REPORT = EpochReport(1, 0.5, 0.1, {"r": 0.5}, FIGURES, 4, seconds={"sampling": 1.0})
TENSORS = {"weights.a": torch.ones(2), "optimizer.step.a": torch.tensor(3.0)}


def opened(path: Path) -> RunFolder:
    return RunFolder(path, IDENTITY, {"config": {}})


def checkpoint(epoch: int = 1, histories: Any = None, **tensors: torch.Tensor) -> Checkpoint:
    return Checkpoint(TENSORS | tensors, epoch, 1, {} if histories is None else histories)


@pytest.mark.parametrize(
    ("count", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (4, 2, 2), (5, 1, 5), (7, 2, 4), (8, 2, 4), (9, 3, 3), (11, 3, 4)],
)
def test_a_grid_has_few_empty_places(count: int, rows: int, columns: int) -> None:
    found = grid(torch.ones(count, 2, 3, 3))
    assert found.shape == (2 * rows, 3 * columns, 3)
    assert (found == 1).all(dim=-1).sum() == count * 6  # what is empty is dark


@pytest.mark.parametrize("name", ["samples", "checkpoints"])
def test_a_linked_folder_of_a_run_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    outside, run = tmp_path / "outside", tmp_path / "runs" / "linked"
    outside.mkdir()
    run.mkdir(parents=True)
    for kept in (".keep.part", "epoch-000000.safetensors", "epoch-000001.safetensors", "epoch-000002.safetensors"):
        (outside / kept).write_text("theirs")
    (run / name).symlink_to(outside)
    with pytest.raises(InputError, match="run_folder: .*link") as caught:
        opened(run)
    assert str(tmp_path) not in str(caught.value)
    assert len(list(outside.iterdir())) == 4


def test_a_folder_that_becomes_a_link_is_not_written_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = opened(tmp_path / "run")
    for name in ("samples", "checkpoints"):
        (folder.path / name).rmdir()
        (folder.path / name).symlink_to(outside)
    with pytest.raises(InputError, match="link"):
        folder.save_grid(1, torch.zeros(1, 8, 8, 3))
    with pytest.raises(InputError, match="link"):
        folder.save(checkpoint())
    (folder.path / "metrics.jsonl").symlink_to(outside / "metrics")
    with pytest.raises(InputError, match="metrics"):
        folder.log(REPORT)
    assert list(outside.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "link", "zeros", "folder"])
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "run.lock", "checkpoints/epoch-000001.safetensors"])
def test_what_is_no_file_is_said_at_once(tmp_path: Path, name: str, kind: str) -> None:
    opened(tmp_path / "run").close()
    path = tmp_path / "run" / name
    path.unlink(missing_ok=True)
    (tmp_path / "secret").write_text('{"identity": {"secret": 1}}')
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "secret")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(10 * 2**30)
    with promptly(3):  # a second on a machine that does nothing else
        if (name, kind) == ("run.lock", "zeros"):  # nobody reads it
            opened(tmp_path / "run").close()
        else:
            with pytest.raises((InputError, ModelFileError)) as caught:
                opened(tmp_path / "run").resume()
            assert path.name in str(caught.value)
            assert str(tmp_path) not in str(caught.value)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ['{"identity": [1]}', '{"identity": {}}', "[1]", "[" * 100_000, '{"identity": null}']
)
def test_an_identity_that_is_none_is_damaged(tmp_path: Path, content: str) -> None:
    opened(tmp_path / "run").close()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(ModelFileError, match=r"config\.json of the run run is damaged"):
        opened(tmp_path / "run")
    assert first_difference([1], IDENTITY) == "identity"


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights.a": torch.tensor([1.0, float("nan")])},
        {"weights.a": torch.tensor([1.0, float("inf")])},
        {"optimizer.step.a": torch.tensor(-5.0)},
        {"histories": {"r": {"a": [1.0, "2"]}}},
        {"histories": {"r": [1.0]}},
        {"histories": {"r": {"a": "text"}}},
    ],
    ids=str,
)
def test_a_checkpoint_no_run_wrote_is_passed_over_and_told(tmp_path: Path, wrong: dict[str, Any]) -> None:
    folder = Path(os.path.realpath(tmp_path))
    save_checkpoint(folder, checkpoint(1))
    save_checkpoint(folder, checkpoint(2, **wrong))
    found, remark = newest_checkpoint(folder)
    assert found is not None
    assert found.epoch == 1
    assert "epoch-000002.safetensors is damaged" in remark
    assert "Went on from epoch-000001.safetensors" in remark


def test_the_user_is_told_of_a_damaged_checkpoint(small_ddpm: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from tastemaker.training import finetune
    from tastemaker.training.run.checkpoint import load_checkpoint

    folder = tmp_path / "run"
    list(finetune(small_ddpm, brightness, "", quick(epochs=2), run_folder=folder))
    newest = Path(os.path.realpath(folder)) / "checkpoints" / "epoch-000002.safetensors"
    whole = load_checkpoint(newest)
    name = next(n for n in whole.tensors if n.startswith("weights."))
    whole.tensors[name].fill_(float("nan"))
    save_checkpoint(newest.parent, whole)
    reports = list(finetune(small_ddpm, brightness, "", quick(epochs=2), run_folder=folder))
    assert [report.epoch for report in reports] == [2]
    assert "epoch-000002.safetensors is damaged" in reports[0].note
    assert all(t.isfinite().all() for t in load_file(folder / "lora.safetensors").values())


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": float("inf")},
        {"loss": "x"},
        {"reward": 10**400},
        {"evaluation": "x"},
        {"evaluation": {"rewards": 5}},
        {"evaluation": {"rewards": {"r": {"tuned": "x"}}}},
        {"evaluation": {"rewards": {"r": {}}}},
        {"rewards": {"r": None}},
        {"epoch": True},
        {"note": 5},
        {"seconds": 5},
    ],
    ids=str,
)
def test_a_line_of_metrics_no_run_wrote_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not an epoch|unexpected|float"):
        EpochReport.from_record(REPORT.record() | changes)
    folder = opened(tmp_path / "run")
    folder.save(checkpoint(2))
    lines = [json.dumps(REPORT.record()), json.dumps(REPORT.record() | {"epoch": 2} | changes)]
    (folder.path / "metrics.jsonl").write_text("\n".join(lines))
    assert [report.epoch for report in folder.resume()[1]] == [1]


def test_files_of_a_run_have_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = opened(tmp_path / "run")
        folder.save(checkpoint())
        folder.save_lora({"a": torch.ones(2)}, {})
    finally:
        os.umask(before)
    for path in (folder.path / "lora.safetensors", folder.path / "checkpoints" / "epoch-000001.safetensors"):
        assert path.stat().st_mode & 0o777 == 0o644

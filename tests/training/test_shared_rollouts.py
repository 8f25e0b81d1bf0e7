"""Split rollouts: parts made by others, in another process too, give the run that would have been made alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tastemaker.core.errors import InputError
from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel
from tastemaker.training import finetune
from tastemaker.training.epoch import Epoch
from tastemaker.training.processes import SingleProcess
from tastemaker.training.rollout_helper import make_rollouts
from tastemaker.training.shared_rollouts import Part, SharedRollouts, joined, units
from tests.conftest import ROOT
from tests.training.conftest import brightness, quick

SHARED = {"algorithm": "matching", "shared_rollouts": "on", "samples_per_epoch": 32, "group_size": 4}


def epoch() -> Epoch:
    texts = [f"prompt {i // 4}" for i in range(8)]
    return Epoch(3, texts, texts, list(range(100, 108)), None, slice(0, 8))


def part(rows: range) -> Part:
    columns = {"red": torch.tensor([float(i) for i in rows], dtype=torch.float64)}
    return Part(torch.stack([torch.full((4, 2, 2), float(i)) for i in rows]), columns)


def test_parts_are_whole_groups() -> None:
    assert units(40, 4) == [range(0, 16), range(16, 32), range(32, 40)]
    assert units(64, 24) == [range(0, 24), range(24, 48), range(48, 64)]


def test_what_others_made_is_taken_and_the_rest_is_made_here(tmp_path: Path) -> None:
    shared, made = SharedRollouts(tmp_path.resolve(), "run"), []

    def make(rows: range) -> Part:
        made.append(rows)
        return part(rows)

    rows = [range(0, 4), range(4, 8)]
    assert SharedRollouts(tmp_path.resolve(), "run").help(epoch(), rows[:1], part, Progress()) == 1
    found = joined(shared.collect(epoch(), rows, make, Progress()))
    assert made == [range(4, 8)]
    assert found.columns["red"].tolist() == list(map(float, range(8)))
    assert found.latents[:, 0, 0, 0].tolist() == list(map(float, range(8)))
    assert not list(tmp_path.rglob("*.claim"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"\x00" * 64),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"run":"run"', b'"run":"not"')),
        lambda path: path.write_bytes(path.read_bytes().replace(b"prompt 0", b"prompt 9")),
        lambda path: path.write_bytes(path.read_bytes()[:-16] + b"\xff" * 16),  # NaN
    ],
)
def test_a_part_that_does_not_fit_is_made_anew(spoil: Any, tmp_path: Path) -> None:
    shared = SharedRollouts(tmp_path.resolve(), "run")
    shared.help(epoch(), [range(0, 8)], part, Progress())
    (path,) = tmp_path.rglob("rows-*.safetensors")
    spoil(path)
    (found,) = shared.collect(epoch(), [range(0, 8)], part, Progress())
    assert found.columns["red"].tolist() == list(map(float, range(8)))


def test_a_claim_is_respected_until_it_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, rows = SharedRollouts(tmp_path.resolve(), "run"), [range(0, 8)]
    folder = tmp_path / "rollouts" / "epoch-000003"
    folder.mkdir(parents=True)
    claim = folder / "rows-000000-000008.claim"
    claim.touch()
    assert shared.help(epoch(), rows, part, Progress()) == 0

    class Impatient(Progress):
        def check_cancelled(self) -> None:
            os.utime(claim, (0, 0))  # a quarter of an hour later

    (found,) = shared.collect(epoch(), rows, part, Impatient())
    assert len(found.latents) == 8


def test_a_stopped_part_leaves_no_claim(tmp_path: Path) -> None:
    def stopped(rows: range) -> Part:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SharedRollouts(tmp_path.resolve(), "run").help(epoch(), [range(0, 8)], stopped, Progress())
    assert not list(tmp_path.rglob("*.claim"))


def test_a_run_with_a_helper_is_the_run_alone(small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    config = quick(**SHARED, epochs=3)
    alone = finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "alone")
    list(alone)
    run = finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "helped")
    helped: list[Any] = []
    helping = make_rollouts(small_ddpm, brightness, "", config, tmp_path / "helped", patience=5.0)
    for _ in range(3):
        helped.append(next(helping))  # all parts of the epoch, before the run asks
        next(run)
    assert [(one.epoch, one.parts) for one in helped] == [(1, 2), (2, 2), (3, 2)]
    assert list(helping) == []  # the run has ended
    run.close()
    first, second = (load_file(tmp_path / name / "lora.safetensors") for name in ("alone", "helped"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not [path for path in (tmp_path / "helped" / "rollouts").rglob("*") if "epoch-000000" in str(path)]


def test_a_helper_in_another_process(tmp_path: Path) -> None:
    """The command line: one file learns, the other says "rollouts"; both end by themselves."""
    base = {
        **{"model": "tiny-ddpm", "reward": "jpeg-compressibility", "prompts": [], "run_folder": "run"},
        "config": {**SHARED, "epochs": 2, "steps": 3, "rank": 2, "sample_every": 0},
    }
    (tmp_path / "run.json").write_text(json.dumps(base))
    (tmp_path / "rollout.json").write_text(json.dumps({**base, "rollouts": True}))
    command = [sys.executable, "-m", "tastemaker.training"]
    early = subprocess.run([*command, tmp_path / "rollout.json"], capture_output=True, text=True, cwd=ROOT)
    assert early.returncode == 2
    assert "start the one that learns first" in early.stderr
    learning = subprocess.Popen([*command, tmp_path / "run.json"], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(learning.stderr.read() if learning.stderr else ""))
    reader.start()
    while not (tmp_path / "run" / "config.json").exists():
        assert learning.poll() is None, said
    rollouts = [*command, tmp_path / "rollout.json"]
    helper = subprocess.run(rollouts, capture_output=True, text=True, cwd=ROOT, timeout=240)
    assert learning.wait(timeout=240) == 0, said
    reader.join()
    learning.stderr.close()
    assert helper.returncode == 0, helper.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "clipped"}, "clipped learns from every step of its own pictures"),
        ({"checkpoint_every": 2}, "Set checkpoint_every to 1"),
        ({"kl_gate": "disagreement"}, "Set kl_gate to off"),
    ],
)
def test_what_does_not_go_with_it(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        quick(**{**SHARED, **changes})


def test_it_needs_a_folder_and_the_same_run(small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    config = quick(**SHARED, epochs=1)
    with pytest.raises(InputError, match="give run_folder"):
        finetune(small_ddpm, brightness, "", config)
    with finetune(small_ddpm, brightness, "", config, run_folder=tmp_path):
        other = quick(**SHARED, epochs=1, rank=3)
        with pytest.raises(InputError, match="another rank"):
            next(make_rollouts(small_ddpm, brightness, "", other, tmp_path))


def test_several_processes_are_refused_before_anything_is_made(small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    class Two(SingleProcess):
        world_size = 2

    config = quick(**SHARED, epochs=1)
    with pytest.raises(InputError, match="Start it as one process"):
        finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run", processes=Two())
    assert not (tmp_path / "run").exists()

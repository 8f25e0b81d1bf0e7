"""Several processes are one with the same pictures; the launcher; run files that cannot be run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tastemaker.core.errors import NonFiniteError, TastemakerError
from tastemaker.core.progress import Progress
from tastemaker.loaders import InputError, ModelFileError
from tastemaker.training.__main__ import main, offload_text_encoders, read_config, read_prompts, read_run
from tastemaker.training.epoch import plan_epoch
from tastemaker.training.processes import Distributed, SingleProcess
from tastemaker.training.run.checkpoint import checkpoints, load_checkpoint
from tastemaker.training.scoring import Scorer, check_terms
from tests.conftest import ROOT

from .conftest import quick

CONFIG = {
    "epochs": 2,
    "samples_per_epoch": 8,
    "group_size": 4,
    "steps": 2,
    "rank": 2,
    "targets": "attention",
    "learning_rate": 1e-3,
    "clip_range": 1e-3,
    "updates_per_epoch": 1,
    "timestep_fraction": 1.0,
    "sample_every": 2,
    "advantages": "prompt",
    "min_history": 4,
}
RUN = {
    "model": "tiny-ddpm",
    "reward": "jpeg-compressibility",
    "prompts": [],
    "run_folder": "run",
    "config": CONFIG,
}


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "run.json"
    path.write_text(json.dumps({**RUN, **changes}))
    return path


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_pictures(tmp_path: Path) -> None:
    """The same reports, gradients that differ by the order of a sum only, one writer, and a resume by one of two."""
    assert main([str(write(tmp_path / "one"))]) == 0
    two = write(tmp_path / "two", config={**CONFIG, "epochs": 1})
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for epochs in (1, 2):
        two = write(tmp_path / "two", config={**CONFIG, "epochs": epochs})
        done = subprocess.run(
            [*launch, "-m", "tastemaker.training", str(two)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    lines = [
        [json.loads(x) for x in (tmp_path / name / "run" / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for one, other in zip(*lines, strict=True):
        assert one["reward"] == pytest.approx(other["reward"], abs=1e-6)
        assert one["pairs"] == other["pairs"]
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
    first, second = (
        load_checkpoint(checkpoints(tmp_path / n / "run" / "checkpoints")[0]).tensors for n in ("one", "two")
    )
    assert set(first) == set(second)
    for key in first:
        if key.startswith("optimizer.exp_avg."):
            torch.testing.assert_close(first[key], second[key], atol=1e-6, rtol=1e-2)


class Sent(torch.Tensor):
    """Stands for a tensor on a GPU."""


class PickyBackend:
    """Two equal processes on a backend that, as nccl, takes only what is on its device."""

    class ReduceOp:
        MAX = "max"

    def get_rank(self) -> int:
        return 0

    def get_world_size(self) -> int:
        return 2

    def get_backend(self) -> str:
        return "picky"

    def all_reduce(self, tensor: torch.Tensor, op: str = "sum") -> None:
        assert isinstance(tensor, Sent)
        if op == "sum":
            tensor.mul_(2)

    def all_gather(self, found: list[torch.Tensor], local: torch.Tensor) -> None:
        assert isinstance(local, Sent)
        for part in found:
            part.copy_(local)

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        assert isinstance(tensor, Sent)


class Picky(Distributed):
    def sendable(self, tensor: torch.Tensor) -> torch.Tensor:
        return super().sendable(tensor).clone().as_subclass(Sent)


def test_what_is_on_the_cpu_is_sent_from_where_the_backend_is() -> None:
    processes = Picky(PickyBackend())
    figures, gradient = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    processes.all_reduce_sum([figures, gradient])
    assert figures.tolist() == [2.0, 4.0]
    assert gradient.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert processes.all_gather(torch.tensor([1.0, 3.0])).tolist() == [1.0, 3.0, 1.0, 3.0]
    assert (processes.all_reduce_max(0.5), processes.broadcast(1)) == (0.5, 1)


class Ungathered(SingleProcess):
    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        raise AssertionError("gathered")


def test_a_bad_score_stops_the_process_that_made_it_before_others_see_it() -> None:
    """The launcher then ends the others, and the message has the picture's place among this process's own."""
    config = quick(samples_per_epoch=16)
    epoch = plan_epoch(config, 0, ["a star"], True, slice(8, 16))
    scorer = Scorer(check_terms(lambda images, prompts: torch.tensor([0.0] * 7 + [math.inf])), config, Ungathered())
    with pytest.raises(NonFiniteError, match="scored picture 8 of 8 as inf"):
        scorer.score_epoch(torch.zeros(8, 4, 4, 3), epoch, Progress())


GROUP_OF_ONE = """
import torch, torch.distributed as dist
from tastemaker.training import __main__ as launcher
print(launcher.launched_processes().world_size)
print(dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.days)
"""


RUN_IN_A_GROUP = """
import sys, torch.distributed as dist
from tastemaker.training import __main__ as launcher
met = launcher.launched_processes().world_size
print(met, launcher.main([sys.argv[1]]), dist.is_initialized())
"""


def in_a_group_of_one(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as if a launcher had started it alone."""
    variables = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)


def test_a_run_that_is_done_leaves_the_others(tmp_path: Path) -> None:
    """A process that exits in its group sometimes aborts: "terminate called without an active exception"."""
    done = in_a_group_of_one(RUN_IN_A_GROUP, str(write(tmp_path / "one", config={**CONFIG, "epochs": 1})))
    assert done.stdout.split() == ["1", "0", "False"], done.stderr[-2000:]


def test_processes_wait_for_the_first_ones_grids_and_comparisons() -> None:
    """Torch's own patience is ten minutes."""
    done = in_a_group_of_one(GROUP_OF_ONE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["1", "2"]


class Part:
    def __init__(self) -> None:
        self.place = "gpu"

    def to(self, place: str) -> None:
        self.place = place


def test_the_launcher_keeps_text_encoders_away_from_the_gpu_while_they_rest() -> None:
    parts = {name: Part() for name in ("unet", "text_encoder", "vae")}
    place = offload_text_encoders(SimpleNamespace(modules=parts, text_encoders=("text_encoder",), device="gpu"))
    with place([parts["text_encoder"]]):
        assert parts["text_encoder"].place == "gpu"
    assert [part.place for part in parts.values()] == ["gpu", "cpu", "gpu"]
    with place([parts["text_encoder"]]):
        assert parts["text_encoder"].place == "gpu"
    with place([parts["unet"]], 1):
        assert [part.place for part in parts.values()] == ["gpu", "cpu", "gpu"]


def test_a_preset_suits_the_model(tiny_sdxl: Any, tiny_ddpm: Any) -> None:
    run = {"preset": "8 GB", "config": {"rank": 4}}
    sizes = [(c.height, c.width) for c in (read_config(run), read_config(run, tiny_sdxl), read_config(run, tiny_ddpm))]
    assert sizes == [(512, 512), (64, 64), (0, 0)]
    assert read_config({"preset": "8 GB", "config": {"height": 32}}, tiny_sdxl).height == 32


def test_the_launcher_says_what_cannot_be_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(write(tmp_path, reward="beauty"))]) == 2
    assert "reward" in caplog.text
    assert main([str(tmp_path / "absent.json")]) == 2
    assert "absent.json cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "cannot be read as JSON"), ("[]", "no JSON object"), ('{"model": "x"}', "must have it")],
)
def test_run_files_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(TastemakerError, match=words):
        read_run(tmp_path / "run.json")


def test_unknown_keys_and_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lr: There is no such key"):
        read_run(write(tmp_path, lr=1))
    with pytest.raises(InputError, match="config: There is no such setting. Found: 'lr'"):
        read_config({"config": {"lr": 1}})
    with pytest.raises(InputError, match="preset: Pick one of"):
        read_config({"preset": "1 TB"})
    assert read_config({"preset": "CPU", "config": {"rank": 4}}).rank == 4


def test_prompts_come_from_a_list_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a star\n\n a moon \n")
    assert read_prompts("prompts.txt", tmp_path) == ["a star", "a moon"]
    assert read_prompts(["x"], tmp_path) == ["x"]
    for bad in ("absent.txt", 3, {"a": 1}):
        with pytest.raises(InputError, match="prompts"):
            read_prompts(bad, tmp_path)


def test_a_run_file_beyond_any_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(ModelFileError, match="larger than any run file"):
        read_run(tmp_path / "run.json")

"""A run in a process of its own, to be killed: `python -m tests.training.interrupted FOLDER WHERE COUNT [ALGORITHM]`.

WHERE is what to die at: "sampling", "learning", "metrics" (the epoch's line is written), "between" (so is its LoRA, not
its checkpoint), "checkpoint" (the file half written), "renamed", or "never"; COUNT is at which time. It dies as a kill
does: at once, with no cleaning up.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from tastemaker.rewards import custom
from tastemaker.training import finetune
from tastemaker.training.run import checkpoint
from tastemaker.training.run import folder as run
from tests.training.conftest import Recorder, Said, brightness, make_small_ddpm, quick

CONFIG = {"epochs": 4, "advantages": "prompt", "min_history": 4, "ema_decay": 0.9, "sample_every": 2}


def dying(function: Any, count: int, *, after: bool) -> Any:
    """A function that ends the process at its `count`-th call, before it or half-way through."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < count:
            return function(*args, **kwargs)
        if after:
            function(*args, **kwargs)
        os._exit(9)

    return wrapped


def half_written(save_file: Any, count: int) -> Any:
    calls = 0

    def wrapped(tensors: Any, path: Any, metadata: Any) -> None:
        nonlocal calls
        calls += 1
        save_file(tensors, path, metadata)
        if calls == count:
            os.truncate(path, Path(path).stat().st_size // 2)
            os._exit(9)

    return wrapped


def main() -> None:
    folder, where, count, *algorithm = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
    torch.set_num_threads(1)
    calls = 0

    def die(said: Said) -> None:
        nonlocal calls
        if said.phase == where:
            calls += 1
            if calls == count:
                os._exit(9)

    if where == "metrics":
        run.RunFolder.save_lora = dying(run.RunFolder.save_lora, count, after=False)
    if where == "between":
        run.RunFolder.save = dying(run.RunFolder.save, count, after=False)
    if where == "renamed":
        checkpoint.os.replace = dying(os.replace, count, after=True)
    if where == "checkpoint":
        checkpoint.save_file = half_written(checkpoint.save_file, count)
    config = quick(**CONFIG, **dict(zip(["algorithm"], algorithm, strict=False)))
    reward = custom("brightness", brightness, version="1", differentiable=True)
    list(finetune(make_small_ddpm(), reward, "", config, run_folder=folder, progress=Recorder(die)))


if __name__ == "__main__":
    main()

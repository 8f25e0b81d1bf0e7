"""The launcher: `python -m tastemaker.training run.json`, or with several processes
`accelerate launch -m tastemaker.training run.json` or `torchrun --nproc-per-node 8 -m tastemaker.training run.json`.

run.json belongs to whoever starts it, so it may name files:

    {
      "model": "tiny-sdxl",                      a name of ours, or a path to a model file or folder
      "reward": "jpeg-compressibility",          or [["name", weight], ...]
      "prompts": ["a red heart"],                or a path to a text file, one prompt a line
      "run_folder": "runs/my taste",
      "preset": "80 GB",                         optional, as are the rest
      "config": {"epochs": 100},
      "negative_prompt": "",
      "held_out_prompts": ["a blue star"],
      "watched_reward": "tiny-imagereward",
      "dtype": "bfloat16",
      "device": "cuda"
    }

With "pairs" in place of "reward" and "prompts" it learns from preferences: a folder with sub-folders w and l (see
`preference.sources.from_folder`), and "config" has the settings of `PreferenceConfig`.

With "rollouts": true in it, and "shared_rollouts": "on" in the config of both, it makes pictures for the run in that
folder, which another process has begun and learns from; as many as you like may do so, on any machine that has the
folder (see `shared_rollouts`).

Without "dtype" networks run in float16 on a GPU and in float32 on a CPU. Paths are relative to run.json. The folder is
the same as the one the Fine-Tune node makes. That node goes on with it, from output/tastemaker/runs, where there is one
reward and no negative prompt, since it has no more than that.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, ModelFileError, TastemakerError
from ..core.shares import leave
from ..loaders.formats.precision import DTYPES
from .config import FineTuneConfig
from .preference.config import PreferenceConfig, with_preset
from .presets import preset

if TYPE_CHECKING:
    from torch import nn

    from ..core.progress import Place
    from ..loaders.model import DiffusionModel
    from .processes import SingleProcess
    from .rollout_helper import Helped
    from .run.report import EpochReport

log = logging.getLogger("tastemaker.training")

REQUIRED = ("model", "reward", "prompts", "run_folder")
FROM_PAIRS = ("model", "pairs", "run_folder")
OPTIONAL = ("rollouts", "preset", "config", "negative_prompt", "held_out_prompts", "watched_reward", "dtype", "device")
MAX_FILE_BYTES = 16 * 2**20
LONGEST_WAIT = timedelta(days=2)  # of one process for the others


def read_run(path: Path) -> dict[str, Any]:
    """Read a run file and check its keys. Raises ModelFileError or InputError naming the key."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelFileError(f"{path.name} is larger than any run file.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        if isinstance(e, TastemakerError):
            raise
        raise ModelFileError(f"{path.name} cannot be read as JSON: {e}.") from e
    if not isinstance(found, dict):
        raise ModelFileError(f"{path.name} is no JSON object.")
    required = FROM_PAIRS if "pairs" in found else REQUIRED
    for key in found:
        if key not in (*required, *OPTIONAL):
            raise InputError(key, found[key], f"There is no such key; there are {', '.join((*required, *OPTIONAL))}.")
    for key in required:
        if key not in found:
            raise InputError(key, None, f"{path.name} must have it.")
    return found


def read_config(run: dict[str, Any], model: DiffusionModel | None = None) -> FineTuneConfig:
    """Make the config of a run file: its preset as it suits `model`, its own settings on top. Raises InputError."""
    settings = run.get("config", {})
    if not isinstance(settings, dict):
        raise InputError("config", settings, "It is an object of settings.")
    kind = PreferenceConfig if "pairs" in run else FineTuneConfig
    unknown = sorted(set(settings) - set(kind.__dataclass_fields__))
    if unknown:
        raise InputError("config", unknown[0], "There is no such setting.")
    if "pairs" in run:
        return with_preset(run.get("preset", ""), None, model, **settings)
    return preset(run["preset"], model, **settings) if "preset" in run else FineTuneConfig(**settings)


def read_prompts(given: Any, folder: Path) -> list[str]:
    """Return a list of prompts, or those of a text file, one a line, empty lines left out. Raises InputError."""
    if isinstance(given, str):
        try:
            lines = (folder / given).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise InputError("prompts", given, f"The file cannot be read ({e}).") from e
        return [line.strip() for line in lines if line.strip()]
    if not isinstance(given, list):
        raise InputError("prompts", given, "It is a list of texts, or the path of a text file.")
    return given


def launched_processes() -> SingleProcess:
    """Return this process among those that a launcher started, its group set up; a single one where none did."""
    import torch
    import torch.distributed as dist

    from .processes import Distributed, SingleProcess

    if not dist.is_available() or not dist.is_torchelastic_launched():
        return SingleProcess()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(dist.get_node_local_rank())
        # the first process makes grids and comparisons while the others wait; a launcher ends all if one fails
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST_WAIT)
    return Distributed()


def _load_model(name: str, folder: Path, dtype: Any, device: Any) -> Any:
    from ..core.assets import EMBEDDED_MODELS
    from ..loaders import load_diffusion_model

    source = name if name in EMBEDDED_MODELS else folder / name
    return load_diffusion_model(source, dtype=dtype, device=device)


def offload_text_encoders(model: DiffusionModel) -> Place:
    """Move the text encoders to the CPU; return a place that has them on the device for as long as they encode."""
    encoders = [model.modules[name] for name in model.text_encoders]
    _offload(encoders)

    @contextmanager
    def place(modules: Iterable[nn.Module], working_bytes: int = 0) -> Iterator[None]:
        used = [module for module in modules if module in encoders]
        for module in used:
            module.to(model.device)
        try:
            yield
        finally:
            _offload(used)

    return place


def _offload(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        module.to("cpu")


def _load_rewards(given: Any, device: Any) -> Any:
    from ..rewards import load_reward

    if isinstance(given, str):
        return load_reward(given, device=device)
    if not isinstance(given, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise InputError("reward", given, "It is a reward's name, or a list of [name, weight] pairs.")
    return [(load_reward(name, device=device), weight) for name, weight in given]


def start(path: Path) -> Any:
    """Make the run of a file, ready to be iterated. Raises TastemakerError for what cannot be run."""
    import torch

    from .loop import finetune

    run = read_run(path)
    read_config(run)  # what is wrong with it is said before anything is loaded
    folder = path.resolve().parent
    dtype = run.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise InputError("dtype", dtype, f"Pick one of {', '.join(DTYPES)}.")
    processes = launched_processes()
    device = run.get("device", "cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
        torch.set_float32_matmul_precision("high")  # where float32 is asked for, on the matrix units all the same
    watched = run.get("watched_reward")
    held_out = run.get("held_out_prompts")
    model = _load_model(run["model"], folder, dtype and getattr(torch, dtype), device)
    config = read_config(run, model)
    others = {
        "run_folder": folder / run["run_folder"],
        "negative_prompt": run.get("negative_prompt", ""),
        "place": offload_text_encoders(model),
        "held_out_prompts": None if held_out is None else read_prompts(held_out, folder),
        "watched_reward": None if watched is None else _load_rewards(watched, device),
        "processes": processes,
    }
    if isinstance(config, PreferenceConfig):
        from .preference.sources import from_folder
        from .preference.tune import preference_tune, with_size_of

        preferences = from_folder(folder / run["pairs"])
        return preference_tune(model, preferences, with_size_of(config, preferences, model), **others)
    reward, prompts = _load_rewards(run["reward"], device), read_prompts(run["prompts"], folder)
    if run.get("rollouts", False):
        from .rollout_helper import make_rollouts

        shared = {name: others[name] for name in ("run_folder", "negative_prompt", "place")}
        return make_rollouts(model, reward, prompts, config, **shared)
    return finetune(model, reward, prompts, config, **others)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a file; return 0 when it is done, 2 when it cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m tastemaker.training", description="Fine-tune on a reward.")
    parser.add_argument("run", type=Path, help="a JSON file; see this module's docstring")
    path = parser.parse_args(arguments).run
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run = start(path)
    except TastemakerError as e:
        log.error("%s", e)
        return 2
    if isinstance(run, Generator):
        return _help(run)
    with run:
        for report in run:
            if run.writes:
                log.info("%s", summary(report))
    leave()  # only now: after a failure here the others may wait for this process, and it for them
    return 0


def _help(helping: Iterator[Helped]) -> int:
    """Make pictures for another process's run; return 0 when that has ended, 2 when it cannot be helped."""
    try:
        for helped in helping:
            log.info("epoch %d: made %d parts", *helped)
    except TastemakerError as e:
        log.error("%s", e)
        return 2
    leave()
    return 0


def summary(report: EpochReport) -> str:
    """Say in a line how an epoch went."""
    if report.reward is None:
        headline = f"loss {report.figures['loss']:.4f}"
    else:
        headline = f"reward {report.reward:.4f} +- {report.reward_std:.4f}"
    return f"epoch {report.epoch}: {headline}, {sum(report.seconds.values()):.0f} s"


if __name__ == "__main__":
    sys.exit(main())

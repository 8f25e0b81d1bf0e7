"""Making pictures for a run that another process learns from: see `shared_rollouts`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError
from ..core.progress import Place, Progress
from ..core.runs import first_difference, kept_identity
from ..loaders.model import DiffusionModel
from .algorithms.matching import Matching
from .config import FineTuneConfig
from .epoch import plan_epoch
from .loop import check_prompt_list, outside_inference_mode
from .processes import SingleProcess
from .run.checkpoint import newest_checkpoint
from .run.store import same_for
from .scoring import Rewards, Scorer, check_terms
from .shared_rollouts import SharedRollouts, identity_of, units
from .worker import Worker

PATIENCE = 600.0  # seconds without a new epoch after which a run is taken to have ended
_PAUSE = 0.3


class Helped(NamedTuple):
    """What was made for an epoch: its number, from 1, and how many parts."""

    epoch: int
    parts: int


def make_rollouts(
    model: DiffusionModel,
    reward: Rewards,
    prompts: str | Sequence[str],
    config: FineTuneConfig,
    run_folder: str | Path,
    *,
    negative_prompt: str = "",
    place: Place | None = None,
    progress: Progress | None = None,
    patience: float = PATIENCE,
) -> Iterator[Helped]:
    """Make pictures of each epoch of a run until it ends, in parts that nobody else is at.

    Arguments are those of the run's own `finetune`, whose folder must be there. It ends with the run's last epoch, and
    after `patience` seconds in which none was finished.
    Raises InputError for a folder without a run, and for one of another model, reward, prompts or settings.
    """
    texts, terms = check_prompt_list(model, prompts, negative_prompt), check_terms(reward)
    if config.algorithm != "matching" or config.shared_rollouts != "on":
        raise InputError("shared_rollouts", config.shared_rollouts, "The run's own settings are needed: on, matching.")
    progress, folder, processes = progress or Progress(), Path(os.path.realpath(run_folder)), SingleProcess()
    with outside_inference_mode():
        worker = Worker(model, config, negative_prompt, place, processes, Matching.schedule(model, config))
        algorithm = Matching(worker, Scorer(terms, config, processes))
        same = same_for(worker, algorithm.scorer, texts)
        _check_run(folder, same)
        shared, parts = SharedRollouts(folder, identity_of(same)), units(config.samples_per_epoch, config.group_size)
        rows = slice(0, config.samples_per_epoch)
        done, since = -1, time.monotonic()
        while time.monotonic() - since < patience:
            progress.check_cancelled()
            checkpoint, _ = newest_checkpoint(folder / "checkpoints")
            number = 0 if checkpoint is None else checkpoint.epoch
            if number >= config.epochs:
                return
            if number == done:
                time.sleep(_PAUSE)
                continue
            if checkpoint is not None:
                worker.learner.load(checkpoint.tensors, checkpoint.updates)
            epoch = plan_epoch(config, number, texts, model.conditional, rows)
            made = shared.help(epoch, parts, partial(algorithm.part, epoch, progress=progress), progress)
            done, since = number, time.monotonic()
            yield Helped(number + 1, made)


def _check_run(folder: Path, same: dict) -> None:
    try:
        found = kept_identity(folder / "config.json")
    except ValueError as e:
        raise InputError("run_folder", folder.name, f"Its config.json {e}.") from e
    if found is None:
        raise InputError("run_folder", folder.name, "There is no run in it yet: start the one that learns first.")
    odd = first_difference(found, same)
    if odd:
        raise InputError("run_folder", folder.name, f"It holds a run with another {odd}.")

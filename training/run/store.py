"""Where a run goes on from: the state of learner and scorer, in memory and in the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ...core.errors import InputError
from ..config import identity
from ..scoring import Scorer
from ..worker import Worker
from .checkpoint import Checkpoint, newest_checkpoint
from .folder import RunFolder, lora_metadata
from .report import EpochReport


class RunStore:
    """Take and put back the state of a run; write it down where there is a folder. Only the first process writes.

    Attributes:
        epoch: epochs done, as of the checkpoint that was read or of the last one noted.
        reports: of all epochs so far, those before a resume too.
        remark: what to say with the next epoch, such as a checkpoint that could not be read.
        path: the run folder without links in it, None where there is none; every process has it.

    Args:
        given: fingerprints of what is learned from that no run makes; a run goes on with the same alone.

    Raises InputError for a folder of another run, ModelFileError where no checkpoint can be read.
    """

    def __init__(
        self,
        worker: Worker,
        scorer: Scorer,
        prompts: tuple[str, ...],
        path: Path | None,
        given: Mapping[str, str] | None = None,
    ) -> None:
        self._worker, self._scorer = worker, scorer
        self._given = dict(given or {})
        self.epoch, self._saved = 0, 0
        self._written: Checkpoint | None = None
        self.reports: list[EpochReport] = []
        self.remark = ""
        self._folder: RunFolder | None = None
        self.path = path and Path(os.path.realpath(path))  # from here on no link in it is followed
        if path is not None:
            self._open(path, prompts)

    def _open(self, path: Path, prompts: tuple[str, ...]) -> None:
        worker, config = self._worker, self._worker.config
        if worker.processes.rank == 0:
            same = same_for(worker, self._scorer, prompts) | self._given
            self._folder = RunFolder(path, same, {"config": asdict(config), "model": worker.model.name})
        worker.processes.barrier()
        try:
            self._resume(path)
        except BaseException:
            self.close()
            raise

    def _resume(self, path: Path) -> None:
        if self._folder is not None:
            checkpoint, self.reports, self.remark = self._folder.resume()
        else:
            checkpoint, _ = newest_checkpoint(Path(os.path.realpath(path)) / "checkpoints")
        processes, found = self._worker.processes, 0 if checkpoint is None else checkpoint.epoch
        if processes.all_reduce_max(found) != -processes.all_reduce_max(-found):
            raise InputError("run_folder", path.name, "Not every process sees the same checkpoint in it.")
        if checkpoint is not None:
            self.restore(checkpoint)
            self._saved = checkpoint.epoch

    def snapshot(self) -> Checkpoint:
        """Return the state as it is between two epochs."""
        learner = self._worker.learner
        return Checkpoint(learner.state(), self.epoch, learner.updates, self._scorer.state())

    def way_back(self) -> Checkpoint:
        """Return the state between two epochs, to go back to: what was just written down, or a snapshot now."""
        written, self._written = self._written, None  # to let go of what the next epoch makes old
        return written if written is not None and written.epoch == self.epoch else self.snapshot()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a state back."""
        self._worker.learner.load(checkpoint.tensors, checkpoint.updates)
        self._scorer.load(checkpoint.histories)
        self.epoch = checkpoint.epoch

    def note(self, report: EpochReport) -> None:
        """Count an epoch as done."""
        self.epoch += 1
        self.reports.append(report)
        self.remark = ""

    def keep(self, *, finished: bool) -> None:
        """Write down the epoch noted last: first its line, then, when due, where to go on from."""
        if self._folder is None:
            return
        report = self.reports[-1]
        self._folder.log(report)
        self.reports[-1] = replace(report, grid=None)  # it is on disk: a long run's would fill the memory
        if finished or self.epoch % self._worker.config.checkpoint_every == 0:
            self._save(self.snapshot())

    def roll_back(self, checkpoint: Checkpoint) -> None:
        """Go back to a state between two epochs, and save it where it was not."""
        self.restore(checkpoint)
        if self._folder is not None and self._saved < checkpoint.epoch:
            self._save(checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        """Write the LoRA, then the checkpoint: a kill in between repeats an epoch, and no run ends without its LoRA."""
        assert self._folder is not None
        self.save_result(checkpoint.epoch)
        self._folder.save(checkpoint)
        self._saved = checkpoint.epoch
        if self._worker.learner.adapter is not None:  # a whole network is not copied to go back to
            self._written = checkpoint

    def save_result(self, epoch: int) -> None:
        """Write the LoRA as it is now, which is that of `epoch`, where there is a folder."""
        worker = self._worker
        if self._folder is not None and worker.learner.adapter is not None:
            metadata = lora_metadata(worker.model, worker.config, epoch)
            self._folder.save_lora(worker.learner.lora_state(), metadata)

    @property
    def writes(self) -> bool:
        """Return whether there is a folder that this process writes."""
        return self._folder is not None

    def save_grid(self, epoch: int, images: torch.Tensor) -> None:
        """Write a sample grid from (B, H, W, 3) where there is a folder."""
        if self._folder is not None:
            self._folder.save_grid(epoch, images)

    def close(self) -> None:
        """Let others open the folder."""
        self._written = None
        if self._folder is not None:
            self._folder.close()
            self._folder = None


def same_for(worker: Worker, scorer: Scorer, prompts: Sequence[str]) -> dict[str, Any]:
    """Return what must be the same for a run to go on, and for whoever makes pictures for it: JSON."""
    return {
        "settings": identity(worker.config),
        "model": worker.model.fingerprint,
        "rewards": scorer.identity(),
        "prompts": list(prompts),
        "negative_prompt": worker.negative_prompt,
    }

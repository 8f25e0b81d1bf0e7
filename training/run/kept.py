"""The result of the epoch that the guard keeps, until the run ends or a better one comes."""

from __future__ import annotations

import logging
from pathlib import Path

from ...core.errors import ModelFileError
from ..learner.learner import Learner
from .checkpoint import Checkpoint, load_checkpoint, write_checkpoint

log = logging.getLogger(__name__)

FILE = "kept.safetensors"


class Kept:
    """Hold a learner's result as it was at an epoch, in memory, and in a run's folder where there is one.

    A full fine-tune's is in the folder alone where it can be: it is as large as the network.

    Args:
        writes: whether this process is the one that writes.
    """

    def __init__(self, learner: Learner, folder: Path | None, writes: bool) -> None:
        self._learner, self._path, self._writes = learner, folder and folder / FILE, writes
        self._held: Checkpoint | None = None

    def hold(self, epoch: int) -> None:
        """Keep the result as it is now, in place of what was kept. Raises InputError where it cannot be written."""
        found = Checkpoint(self._learner.result(), epoch, self._learner.updates, {})
        if self._path is not None and self._writes:
            write_checkpoint(self._path, found)
        self._held = found if self._path is None or self._learner.adapter is not None else None

    def bring_back(self, epoch: int) -> str:
        """Make the learner's result what was kept of `epoch`; return what to say where it is not there any more."""
        try:
            found = self._held or (load_checkpoint(self._path) if self._path is not None else None)
            if found is None or found.epoch != epoch:
                raise ModelFileError(f"{FILE} is not of epoch {epoch}.")
            self._learner.load_result(found.tensors)
        except ModelFileError as e:
            log.warning("%s", e)
            return f"What was kept of epoch {epoch} cannot be read ({e}) The result is the last epoch's."
        return ""

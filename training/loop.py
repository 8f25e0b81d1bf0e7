"""`FineTune`: sample, score, learn, epoch after epoch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..loaders.model import DiffusionModel
from .advantages import PromptHistory, standing_out
from .algorithms.learning import learn_epoch
from .config import identity
from .evaluate import best_so_far
from .heldout import HeldOut
from .randomness import derived_seed, epoch_prompts, epoch_seeds
from .run.checkpoint import Checkpoint, newest_checkpoint
from .run.folder import RunFolder, lora_metadata
from .run.report import EpochReport, OnProgress, Progress
from .scoring import Judged, Rewards, check_judges, judge
from .worker import Worker

log = logging.getLogger(__name__)

GRID_PICTURES = 8


class FineTune(Iterator[EpochReport]):
    """A run in progress: iterate to train an epoch at a time; `finetune` makes it.

    Between two epochs, and after the last, nothing is attached to the model: it can be used as ever.
    An exception, a cancel too, takes what it learns back to the last whole epoch, saves that where there is a run
    folder, and ends the iteration.

    Attributes:
        reports: of all epochs so far, those before a resume too; where there is a run folder, which has their sample
            grids, without these.
        epoch: epochs done.
        stopped: why it ended before its last epoch; empty where it did not.
    """

    def __init__(
        self,
        worker: Worker,
        reward: Rewards,
        prompts: Sequence[str],
        on_progress: OnProgress | None,
        held_out: HeldOut,
        run_folder: str | Path | None,
    ) -> None:
        self._worker, self.config = worker, worker.config
        self._judges, self._prompts = check_judges(reward), tuple(prompts)
        self._histories = {
            name: PromptHistory(self.config.history, self.config.min_history)
            for one in self._judges
            for name, _ in one.trained_on
        }
        self._on_progress, self._held_out = on_progress, held_out
        self.reports: list[EpochReport] = []
        self.epoch, self.stopped, self._saved, self._closed = 0, "", 0, False
        self._durations: list[float] = []
        self._remark = ""  # what to say with the next epoch
        self._folder: RunFolder | None = None
        if run_folder is not None:
            self._open(Path(run_folder))

    # --- for whoever holds it -------------------------------------------------------------------

    def __iter__(self) -> FineTune:
        return self

    def __next__(self) -> EpochReport:
        if self.finished or self._closed:
            self.close()
            raise StopIteration
        with outside_inference_mode():
            before = self._snapshot() if self._worker.learner.adapter is not None else None
            try:
                report = self._run_epoch(self.epoch)
                self.epoch += 1
                self.reports.append(report)
                self._stop_early()
                self._keep(report)
            except BaseException:
                self._give_up(before)
                raise
        return report

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.epoch >= self.config.epochs or bool(self.stopped)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes, where several train together."""
        return self._worker.processes.rank == 0

    @property
    def model(self) -> DiffusionModel:
        """The model as tuned so far: a new handle that shares the base's modules and carries the LoRA."""
        with outside_inference_mode():
            return self._worker.learner.tuned(f"{self._worker.model.name} tuned")

    def lora_state(self) -> dict[str, torch.Tensor]:
        """The LoRA as tuned so far, in kohya's keys: what ComfyUI's LORA_MODEL wire carries."""
        with outside_inference_mode():
            return self._worker.learner.lora_state()

    def close(self) -> None:
        """Let go of the run folder; the results stay. The end of the iteration does it too."""
        self._closed = True
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def __enter__(self) -> FineTune:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    # --- an epoch -------------------------------------------------------------------------------

    def _run_epoch(self, epoch: int) -> EpochReport:
        config, worker, clock = self.config, self._worker, _Clock()
        if epoch == 0 and config.sample_every and self._folder is not None:
            self._folder.save_grid(0, self._grid(epoch, "before training"))
        everybody, groups, starts = self._plan(epoch)
        seeds = epoch_seeds(len(everybody), config.seed, epoch)
        mine = worker.processes.share(len(everybody))
        counter = self._counter(epoch, "sampling", (mine.stop - mine.start) * len(worker.schedule.timesteps))
        mine_start = None if starts is None else starts[mine]
        trajectory, images = worker.sample(everybody[mine], seeds[mine], counter, starts=mine_start)
        clock.lap("sampling")
        counter = self._counter(epoch, "scoring", len(images) * len(self._judges))
        counter(0)
        told = (images, trajectory.prompts, everybody, groups, config, worker.processes, counter)
        judged = judge(self._judges, self._histories, *told)
        clock.lap("scoring")
        advantages = standing_out(judged.advantages, config.learn_from)
        learned = learn_epoch(
            worker, trajectory, advantages, epoch, mine, lambda total: self._counter(epoch, "learning", total)
        )
        clock.lap("learning")
        grid, evaluation = self._show(epoch), self._evaluate(epoch)
        clock.lap("samples and evaluation")
        self._durations.append(sum(clock.seconds.values()))
        return self._report(epoch, judged, learned, clock.seconds, grid, evaluation)

    def _plan(self, epoch: int) -> tuple[list[str], list[str], list[int] | None]:
        """Of every picture of an epoch: its prompt, what it is compared with, and the seed of a start it shares."""
        config = self.config
        count, size = config.samples_per_epoch // config.group_size, config.group_size
        if self._worker.model.conditional:
            chosen = epoch_prompts(self._prompts, count, config.seed, epoch)
            prompts = [prompt for prompt in chosen for _ in range(size)]
        else:
            prompts = [self._prompts[0]] * config.samples_per_epoch
        if config.shared_start == "off":
            return prompts, prompts, None
        starts = [derived_seed(config.seed, "start", epoch, i) for i in range(count) for _ in range(size)]
        return prompts, [str(start) for start in starts], starts

    def _report(
        self,
        epoch: int,
        judged: Judged,
        learned: dict[str, Any],
        seconds: dict[str, float],
        grid: torch.Tensor | None,
        evaluation: dict[str, Any] | None,
    ) -> EpochReport:
        note, self._remark = self._remark, ""
        if not judged.advantages.any():
            note += " " * bool(note) + "All scores were the same, so there was nothing to learn from in this epoch."
            log.warning("Epoch %d: %s", epoch + 1, note)
        return EpochReport(
            epoch=epoch + 1,
            reward=float(judged.total.mean()),
            reward_std=float(judged.total.std(correction=0)),
            rewards={name: float(column.mean()) for name, column in judged.columns.items()},
            pictures=len(judged.total),
            seconds={name: round(value, 3) for name, value in seconds.items()},
            evaluation=evaluation,
            note=note,
            grid=grid,
            **learned,
        )

    def _due(self, epoch: int, every: int) -> bool:
        """Whether something done every so many epochs, and at the last, is due after this one."""
        return every > 0 and ((epoch + 1) % every == 0 or epoch + 1 == self.config.epochs)

    def _show(self, epoch: int) -> torch.Tensor | None:
        if self._worker.processes.rank or not self._due(epoch, self.config.sample_every):
            return None
        return self._grid(epoch, "samples")

    def _grid(self, epoch: int, phase: str) -> torch.Tensor:
        """Pictures of the first prompts at seeds that stay the same over the run."""
        prompts = [self._prompts[i % len(self._prompts)] for i in range(GRID_PICTURES)]
        seeds = [derived_seed(self.config.seed, "samples", i) for i in range(GRID_PICTURES)]
        total = GRID_PICTURES * len(self._worker.schedule.timesteps)
        counter = self._counter(epoch, phase, total)
        return self._worker.sample(prompts, seeds, counter, averaged=True)[1]

    def _evaluate(self, epoch: int) -> dict[str, Any] | None:
        if self._worker.processes.rank or not self._due(epoch, self.config.evaluate_every):
            return None
        return self._held_out.evaluate(
            self._worker, self._judges, lambda total: self._counter(epoch, "evaluating", total)
        )

    def _stop_early(self) -> None:
        """Stop where the held-out comparison does not get better any more; every process agrees."""
        evaluations = [r.evaluation for r in self.reports if r.evaluation is not None]
        stop = best_so_far(self._held_out.watched(evaluations, self._judges), self.config.patience)
        if self._worker.processes.agree(int(stop)) and self.epoch < self.config.epochs:
            self.stopped = (
                f"Stopped after epoch {self.epoch}: the held-out comparison was no better in the last "
                f"{self.config.patience} than before."
            )
            log.info("%s", self.stopped)

    def _counter(self, epoch: int, phase: str, total: int) -> Callable[[int], None]:
        """A function that is told how much more of a phase is done, and tells `on_progress`."""
        done, config = 0, self.config

        def count(more: int) -> None:
            nonlocal done
            done += more
            if self._on_progress is not None:
                left = None
                if self._durations:
                    left = (config.epochs - epoch) * sum(self._durations) / len(self._durations)
                self._on_progress(Progress(epoch + 1, config.epochs, phase, done, total, left))

        return count

    # --- to resume ------------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        """Open the run folder and go on from its newest checkpoint. Only the first process writes."""
        worker = self._worker
        if worker.processes.rank == 0:
            told = {
                "settings": identity(self.config),
                "model": worker.model.fingerprint,
                "rewards": [[j.name, j.weight, getattr(j.score, "fingerprint", None)] for j in self._judges],
                "prompts": list(self._prompts),
                "negative_prompt": worker.negative_prompt,
            }
            self._folder = RunFolder(path, told, {"config": asdict(self.config), "model": worker.model.name})
        worker.processes.wait()
        try:
            self._resume(path)
        except BaseException:
            self.close()
            raise

    def _resume(self, path: Path) -> None:
        if self._folder is not None:
            checkpoint, self.reports, self._remark = self._folder.resume()
        else:
            checkpoint, _ = newest_checkpoint(Path(os.path.realpath(path)) / "checkpoints")
        processes, found = self._worker.processes, 0 if checkpoint is None else checkpoint.epoch
        if processes.largest(found) != -processes.largest(-found):
            raise InputError("run_folder", path.name, "Not every process sees the same checkpoint in it.")
        if checkpoint is not None:
            self._load(checkpoint)
            self._saved = checkpoint.epoch
            self._stop_early()

    def _snapshot(self) -> Checkpoint:
        learner = self._worker.learner
        return Checkpoint(
            learner.state(), self.epoch, learner.updates, {name: h.state() for name, h in self._histories.items()}
        )

    def _load(self, checkpoint: Checkpoint) -> None:
        self._worker.learner.load(checkpoint.tensors, checkpoint.updates)
        for name, history in self._histories.items():
            history.load(checkpoint.histories.get(name, {}))
        self.epoch = checkpoint.epoch

    def _keep(self, report: EpochReport) -> None:
        """Write down an epoch that is done: first its line, then, when due, where to go on from."""
        if self._folder is None:
            return
        self._folder.log(report)
        self.reports[-1] = replace(report, grid=None)  # it is on disk: a long run's would fill the memory
        if self.finished or self.epoch % self.config.checkpoint_every == 0:
            self._save(self._snapshot())

    def _save(self, checkpoint: Checkpoint) -> None:
        """Write the LoRA, then the checkpoint: a kill in between repeats an epoch, and no run ends without its LoRA."""
        assert self._folder is not None
        if self._worker.learner.adapter is not None:
            self._folder.save_lora(self.lora_state(), lora_metadata(self._worker.model, self.config, checkpoint.epoch))
        self._folder.save(checkpoint)
        self._saved = checkpoint.epoch

    def _give_up(self, before: Checkpoint | None) -> None:
        """Back to the last whole epoch, which is saved; nothing here may hide what went wrong."""
        try:
            if before is not None and self.epoch == before.epoch:
                self._load(before)
                if self._folder is not None and self._saved < before.epoch:
                    self._save(before)
        except Exception:
            log.exception("What was learned could not be saved.")
        finally:
            self.close()


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Hosts run nodes inside torch.inference_mode(), where nothing can learn; for the block it is off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield

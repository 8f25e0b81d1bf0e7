"""`finetune`, the public door, and `FineTune`: collect, learn, report, epoch after epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.progress import Place, Progress
from ..core.randomness import derived_seed
from ..loaders.model import DiffusionModel
from ..sampling.inputs import prompts_each
from .algorithms.base import Algorithm, Experience
from .algorithms.classes import CLASSES
from .algorithms.matching import Matching
from .algorithms.registry import OFFLINE
from .config import FineTuneConfig
from .epoch import plan_epoch
from .guard import Verdict, is_judged, judge
from .heldout import HeldOut, best_so_far
from .learner.learner import Learner
from .processes import SingleProcess
from .rollout import Request
from .run.checkpoint import Checkpoint
from .run.kept import Kept
from .run.progress import EpochProgress, PhaseClock
from .run.report import EpochReport
from .run.store import RunStore, same_for
from .scoring import RewardFunction, Rewards, Scorer, check_terms
from .shared_rollouts import SharedRollouts, identity_of
from .worker import Worker

log = logging.getLogger(__name__)

GRID_PICTURES = 8


def finetune(
    model: DiffusionModel,
    reward: Rewards,
    prompts: str | Sequence[str],
    config: FineTuneConfig,
    *,
    run_folder: str | Path | None = None,
    negative_prompt: str = "",
    place: Place | None = None,
    progress: Progress | None = None,
    held_out_prompts: Sequence[str] | None = None,
    watched_reward: RewardFunction | None = None,
    processes: SingleProcess | None = None,
) -> FineTune:
    """Fine-tune a model on a reward; iterate over the result to train, an epoch at a time.

    Args:
        model: from `load_diffusion_model`; it is not changed, and its modules are shared, not copied.
        reward: `reward(images, prompts) -> scores`, or several as (reward, weight) pairs, each normalised
            before the weighted sum. A reward with `columns` is trained on its first column.
        prompts: what to train on; empty for unconditional models.
        config: everything else; see `FineTuneConfig` and `preset`.
        run_folder: where to keep the run; the same folder resumes it. None keeps nothing.
        negative_prompt: what guidance leads away from.
        place: puts modules where they compute; None leaves them where they are.
        progress: what it raises stops the run. An `EpochProgress` hears of epochs too.
        held_out_prompts: for the comparison every `evaluate_every` epochs; None takes the training
            prompts, with seeds that are not trained on.
        watched_reward: a reward that is not trained on, for the comparison and for stopping early. It and
            `held_out_prompts` need `evaluate_every` above 0.
        processes: several processes that train together; see `training.processes`.

    Raises:
        InputError: what cannot be trained or resumed, by name, before anything runs.
        ModelFileError: no checkpoint of the run folder can be read.
        OutOfMemoryError: learning, or an epoch's pictures, would take more than is free.
    """
    texts, terms = check_prompt_list(model, prompts, negative_prompt), check_terms(reward)
    held_out = HeldOut(model, config, texts, held_out_prompts, watched_reward)
    processes = processes or SingleProcess()
    groups = config.samples_per_epoch // config.group_size if model.conditional else config.samples_per_epoch
    check_shared(config, groups, processes)
    check_rollouts(config, run_folder, processes)
    if config.algorithm in OFFLINE:
        raise InputError("algorithm", config.algorithm, "It learns from pictures given: call preference_tune.")
    make_algorithm = CLASSES[config.algorithm]
    with outside_inference_mode():
        schedule = make_algorithm.schedule(model, config)
        worker = Worker(model, config, negative_prompt, place, processes, schedule)
        algorithm = make_algorithm(worker, Scorer(terms, config, processes, watched_reward))
        return FineTune(algorithm, texts, held_out, progress, run_folder)


def check_shared(config: FineTuneConfig, groups: int, processes: SingleProcess) -> None:
    """Raise InputError where an epoch's groups cannot be dealt evenly to the processes."""
    if groups % processes.world_size:
        advice = f"Its groups cannot be shared by {processes.world_size} processes."
        raise InputError("samples_per_epoch", config.samples_per_epoch, advice)


def check_rollouts(config: FineTuneConfig, run_folder: str | Path | None, processes: SingleProcess) -> None:
    """Raise InputError where `shared_rollouts` has no folder to share, or no pictures left to share."""
    if config.shared_rollouts == "off":
        return
    if run_folder is None:
        raise InputError("shared_rollouts", "on", "Others read and write the run's folder: give run_folder.")
    if processes.world_size > 1:
        advice = "A run of several processes deals its pictures to them already. Start it as one process."
        raise InputError("shared_rollouts", "on", advice)


def check_prompt_list(model: DiffusionModel, prompts: str | Sequence[str], negative_prompt: str = "") -> list[str]:
    """Return the distinct prompts to train on, in their order. Raises InputError for none and for unreadable ones."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not model.conditional:
        texts = texts or [""]
    texts = prompts_each(model, texts, negative_prompt, len(texts)) if texts else []
    if not texts or (model.conditional and not all(t.strip() for t in texts)):
        raise InputError("prompts", prompts, "There is nothing to train on: type at least one prompt, none empty.")
    return list(dict.fromkeys(texts))


class FineTune(Iterator[EpochReport]):
    """A run in progress: iterate to train an epoch at a time; `finetune` makes it.

    Between two epochs, and after the last, nothing is attached to the model: it can be used as ever.
    An exception, a cancel too, takes what it learns back to the last whole epoch, saves that where there is a run
    folder, and ends the iteration.

    `remark` is said with the first epoch.

    Attributes:
        algorithm: how it learns.
        held_out: what it is compared on.
        stopped: why it ended before its last epoch; empty where it did not.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        prompts: Sequence[str],
        held_out: HeldOut,
        progress: Progress | None,
        run_folder: str | Path | None,
        remark: str = "",
    ) -> None:
        self.algorithm, self.held_out, self.stopped = algorithm, held_out, ""
        self._worker, self.config = algorithm.worker, algorithm.worker.config
        self._prompts, self._progress = tuple(prompts), progress or EpochProgress()
        self._durations: list[float] = []
        self._closed = False
        path = None if run_folder is None else Path(run_folder)
        self._store = RunStore(self._worker, algorithm.scorer, self._prompts, path, algorithm.given)
        if remark and not self._store.epoch:
            self._store.remark = remark
        self._kept = Kept(self.learner, self._store.path, self.writes)
        if self.config.shared_rollouts == "on" and self._store.path is not None:
            assert isinstance(algorithm, Matching)  # the config allows no other
            same = same_for(self._worker, algorithm.scorer, self._prompts)
            algorithm.shared = SharedRollouts(self._store.path, identity_of(same))
        if self._store.epoch:
            self._stop_early()
            if self.finished:
                self._bring_back_kept()

    # --- for whoever holds it -------------------------------------------------------------------

    def __iter__(self) -> FineTune:
        return self

    def __next__(self) -> EpochReport:
        if self.finished or self._closed:
            self.close()
            raise StopIteration
        with outside_inference_mode():
            before = self._store.way_back() if self.learner.adapter is not None else None
            try:
                if self.config.guarded and self.epoch == 0:
                    self._kept.hold(0)
                report = self._run_epoch()
                self._store.note(report)
                self._stop_early()
                self._store.keep(finished=self.finished)
                if self.finished:
                    self._bring_back_kept()
            except BaseException:
                self._roll_back(before)
                raise
        return report

    @property
    def epoch(self) -> int:
        """Return how many epochs are done."""
        return self._store.epoch

    @property
    def reports(self) -> list[EpochReport]:
        """Return those of all epochs so far; without sample grids where there is a run folder, which has them."""
        return self._store.reports

    @property
    def finished(self) -> bool:
        """Return whether there is nothing left to do."""
        return self.epoch >= self.config.epochs or bool(self.stopped)

    @property
    def kept(self) -> int:
        """Return the epoch whose weights are the result once the run ends: the last, unless the guard says another."""
        comparisons = self._comparisons()
        return self._verdict(comparisons).kept if self.config.guarded and comparisons else self.epoch

    @property
    def writes(self) -> bool:
        """Return whether this process is the one that writes, where several train together."""
        return self._worker.processes.rank == 0

    @property
    def learner(self) -> Learner:
        """Return what learns: its weights, its optimizer, its average."""
        return self._worker.learner

    @property
    def model(self) -> DiffusionModel:
        """Return the model as tuned so far: a new handle that shares the base's modules and carries the LoRA."""
        with outside_inference_mode():
            return self.learner.tuned(f"{self._worker.model.name} tuned")

    def lora_state(self) -> dict[str, torch.Tensor]:
        """Return the LoRA as tuned so far, in kohya's keys: what ComfyUI's LORA_MODEL wire carries."""
        with outside_inference_mode():
            return self.learner.lora_state()

    def close(self) -> None:
        """Let go of the run folder; the results stay. The end of the iteration does it too."""
        self._closed = True
        self._store.close()

    def __enter__(self) -> FineTune:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    # --- an epoch -------------------------------------------------------------------------------

    def _run_epoch(self) -> EpochReport:
        config, worker, algorithm = self.config, self._worker, self.algorithm
        number, count = self.epoch, config.samples_per_epoch
        progress = self._begin(number)
        if number == 0 and config.sample_every and self._store.writes:
            self._store.save_grid(0, self._grid("before training", progress))
        rows = worker.processes.my_slice(count)
        epoch = plan_epoch(config, number, self._prompts, worker.model.conditional, rows)
        experience = algorithm.collect(epoch, progress)
        figures = algorithm.learn(epoch, experience, progress)
        progress.lap("samples and evaluation")
        grid = self._grid("samples", progress) if self._due(number, config.sample_every) else None
        evaluation = None
        if self._due(number, config.evaluate_every):
            evaluation = self.held_out.evaluate(algorithm, progress)
        verdict = self._judge(number + 1, evaluation)
        progress.lap()
        self._durations.append(sum(progress.seconds.values()))
        return EpochReport(
            epoch=number + 1,
            **_scores(experience),
            figures=figures,
            pictures=count,
            algorithm=config.algorithm,
            seconds={name: round(value, 3) for name, value in progress.seconds.items()},
            evaluation=evaluation,
            note=" ".join(filter(None, (self._store.remark, _note(number, experience), verdict.stop))),
            grid=grid,
        )

    def _begin(self, number: int) -> PhaseClock:
        """Say that an epoch begins; return what times its phases."""
        epochs, left = self.config.epochs, None
        if self._durations:
            left = (epochs - number) * sum(self._durations) / len(self._durations)
        if isinstance(self._progress, EpochProgress):
            self._progress.epoch(number + 1, epochs, left)
        return PhaseClock(self._progress)

    def _due(self, number: int, every: int) -> bool:
        """Whether what the first process does every so many epochs, and at the last, is due after this one."""
        return self.writes and every > 0 and ((number + 1) % every == 0 or number + 1 == self.config.epochs)

    def _grid(self, phase: str, progress: Progress) -> torch.Tensor:
        """Sample pictures of the first prompts at seeds that stay the same over the run."""
        prompts = [self._prompts[i % len(self._prompts)] for i in range(GRID_PICTURES)]
        seeds = [derived_seed(self.config.seed, "samples", i) for i in range(GRID_PICTURES)]
        progress.phase(phase, GRID_PICTURES * len(self._worker.schedule.timesteps))
        return self.algorithm.sample(Request(prompts, seeds), progress, averaged=True)

    def _judge(self, epoch: int, evaluation: dict[str, Any] | None) -> Verdict:
        """Ask the guard about a new comparison; note in it which epoch is kept, and keep this one if it is that.

        Only the first process compares; every process keeps the same.
        """
        if not self.config.guarded:
            return Verdict(epoch, "")
        verdict = Verdict(self.kept, "")
        if evaluation is not None:
            verdict = self._verdict([*self._comparisons(), (epoch, evaluation)])
            evaluation["kept_epoch"] = verdict.kept
        if self._worker.processes.broadcast(int(evaluation is not None and verdict.kept == epoch)):
            self._kept.hold(epoch)
        return verdict

    def _verdict(self, comparisons: Sequence[tuple[int, Mapping[str, Any]]]) -> Verdict:
        return judge([(n, e) for n, e in comparisons if is_judged(e)], self.config.diversity_floor)

    def _comparisons(self) -> list[tuple[int, Mapping[str, Any]]]:
        return [(r.epoch, r.evaluation) for r in self.reports if r.evaluation is not None]

    def _stop_early(self) -> None:
        """Stop where the guard says so, or the comparison does not get better any more; every process agrees."""
        why = ""
        if self.config.guarded:
            why = self._verdict(self._comparisons()).stop
        evaluations = [evaluation for _, evaluation in self._comparisons()]
        if best_so_far(self.held_out.watched(evaluations, self.algorithm.scorer.terms), self.config.patience):
            why = why or (
                f"Stopped after epoch {self.epoch}: the held-out comparison was no better in the last "
                f"{self.config.patience} than before."
            )
        if self._worker.processes.broadcast(int(bool(why))) and self.epoch < self.config.epochs:
            self.stopped = why or "Stopped: the first process says why."
            log.info("%s", self.stopped)

    def _bring_back_kept(self) -> None:
        """Make the epoch that the guard keeps the result; checkpoints stay the last epoch's, to go on from."""
        kept = self._worker.processes.broadcast(self.kept)
        if not self.config.guarded or kept == self.epoch:
            return
        self._store.remark = self._kept.bring_back(kept)
        self._store.save_result(kept if not self._store.remark else self.epoch)

    def _roll_back(self, before: Checkpoint | None) -> None:
        """Go back to the last whole epoch, and save it; nothing here may hide what went wrong."""
        try:
            if before is not None and self.epoch == before.epoch:
                self._store.roll_back(before)
        except Exception:
            log.exception("What was learned could not be saved.")
        finally:
            self.close()


def _scores(experience: Experience) -> Mapping[str, Any]:
    """Return what a report says of an epoch's scores."""
    scored = experience.scored
    if scored is None:
        return {"reward": None, "reward_std": None, "rewards": {}}
    return {
        "reward": float(scored.total.mean()),
        "reward_std": float(scored.total.std(correction=0)),
        "rewards": {name: float(column.mean()) for name, column in scored.columns.items()},
    }


def _note(number: int, experience: Experience) -> str:
    if experience.scored is None or experience.scored.advantages.any():
        return ""
    note = "All scores were the same, so there was nothing to learn from in this epoch."
    log.warning("Epoch %d: %s", number + 1, note)
    return note


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Switch torch.inference_mode() off for the block: hosts run nodes inside it, where nothing can learn."""
    with torch.inference_mode(False), torch.enable_grad():
        yield

"""`finetune`: sample, score, learn, epoch after epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from ..loaders.errors import InputError
from ..loaders.lora import applied_loras
from ..loaders.model import DiffusionModel
from ..sampling.decode import decode
from ..sampling.guidance import Network
from ..sampling.inputs import picture_size, prompts_each
from ..sampling.memory import unet_bytes, vae_bytes
from ..sampling.prompts import Encoded, PromptCache, encode_negative
from ..sampling.settings import SampleSettings
from .advantages import PromptHistory
from .config import DDPOConfig
from .learner import Learner
from .learning import learn_epoch
from .loss import scaled_clip_range
from .processes import Alone
from .randomness import epoch_prompts, epoch_seeds
from .report import EpochReport, OnProgress, Progress
from .rewarding import Judged, Rewards, check_judges, judge
from .rollout import OPTIONS, rollout, training_schedule
from .step import Objective
from .trajectory import Trajectory, learnable_steps

if TYPE_CHECKING:
    from ..sampling.loop import Place

log = logging.getLogger(__name__)

UNPROMPTED = Encoded(torch.empty(0), torch.empty(0))


class Worker:
    """The parts of a run that every epoch uses: model, learner, schedule, prompts, memory."""

    def __init__(
        self,
        model: DiffusionModel,
        config: DDPOConfig,
        negative_prompt: str,
        place: Place | None,
        processes: Alone,
    ) -> None:
        self.model, self.config, self.processes = model, config, processes
        self._negative_prompt = negative_prompt
        self._place = place or (lambda *_: nullcontext())
        settings = SampleSettings(height=config.height, width=config.width)
        self.size = picture_size(model, settings, None, None)
        self.schedule = training_schedule(model, config)
        height, width = self.size
        self.elements = model.channels * (height // model.downscale) * (width // model.downscale)
        self.guided = model.conditional and config.guidance_scale > 1.0
        self._cache = PromptCache(4096)
        with self.placed(model):
            self.learner = Learner(model, config)
        self.objective = Objective(
            config.algorithm,
            scaled_clip_range(config.clip_range, self.elements),
            config.kl_weight,
            float(self.elements) if model.dtype == torch.float16 else 1.0,
        )

    def placed(self, model: DiffusionModel, working_bytes: int = 0) -> AbstractContextManager[None]:
        """The UNet where it computes."""
        return self._place(model, ("unet",), working_bytes)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def encode(self, prompts: Sequence[str]) -> tuple[list[Encoded], Encoded | None]:
        """Prompts and the negative one; text encoders are in place only for what is not known yet."""
        if not self.model.conditional:
            return [UNPROMPTED] * len(prompts), None
        wanted = [*prompts, self._negative_prompt] if self.guided else list(prompts)
        if self._cache.missing(self.model, wanted):
            encoders = self.model.text_encoders
            with self._place(self.model, encoders, 0), applied_loras(self.model, encoders):
                self._cache.get(self.model, wanted)
        negative = encode_negative(self._cache, self.model, self._negative_prompt) if self.guided else None
        return self._cache.get(self.model, prompts), negative

    def network(self, model: DiffusionModel, prompts: Sequence[str]) -> Network:
        """The guided network of some rows, for learning."""
        encoded, negative = self.encode(prompts)
        return Network(
            model, encoded, negative, guidance_scale=self.config.guidance_scale, size=self.size, options=OPTIONS
        )

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], on_step: Any, *, base: bool = False, averaged: bool = False
    ) -> tuple[Trajectory, torch.Tensor]:
        """Trajectory and pictures (B, H, W, 3) of the policy as it is now, or of the base."""
        encoded, negative = self.encode(prompts)
        model = self.model if base else self.learner.policy
        rows = 2 if self.guided else 1
        at_once = min(self.config.rollout_batch_size or len(seeds), len(seeds))
        active = applied_loras(model, ("unet",)) if base else self.learner.active(averaged=averaged)
        with self.placed(model, at_once * unet_bytes(model, *self.size, rows)), active:
            trajectory = rollout(
                model, self.schedule, self.config, self.size, prompts, seeds, encoded, negative, on_step
            )
        with self._place(self.model, ("vae",) if self.model.vae else (), vae_bytes(self.model, *self.size, 1)):
            return trajectory, decode(self.model, trajectory.latents[:, -1])


class FineTune(Iterator[EpochReport]):
    """A run in progress: iterate to train an epoch at a time; `finetune` makes it.

    Between two epochs, and after the last, nothing is attached to the model: it can be used as ever.

    Attributes:
        reports: of all epochs so far, those before a resume too.
        epoch: epochs done.
        finished: whether there is nothing left to do.
        notes: what a user should know about the start of the run.
    """

    def __init__(
        self,
        worker: Worker,
        reward: Rewards,
        prompts: Sequence[str],
        on_progress: OnProgress | None,
    ) -> None:
        self._worker, self.config = worker, worker.config
        self._judges = check_judges(reward)
        self._histories = [PromptHistory(self.config.history, self.config.min_history) for _ in self._judges]
        self._prompts, self._on_progress = tuple(prompts), on_progress
        self.reports: list[EpochReport] = []
        self.epoch, self.notes = 0, []
        self._durations: list[float] = []

    # --- for whoever holds it -------------------------------------------------------------------

    def __iter__(self) -> FineTune:
        return self

    def __next__(self) -> EpochReport:
        if self.finished:
            raise StopIteration
        with outside_inference_mode():
            report = self._run_epoch(self.epoch)
            self.epoch += 1
            self.reports.append(report)
        return report

    @property
    def finished(self) -> bool:
        return self.epoch >= self.config.epochs

    @property
    def model(self) -> DiffusionModel:
        """The model as tuned so far: a new handle that shares the base's modules and carries the LoRA."""
        with outside_inference_mode():
            return self._worker.learner.tuned("tuned")

    def lora_state(self) -> dict[str, torch.Tensor]:
        """The LoRA as tuned so far, in kohya's keys: what ComfyUI's LORA_MODEL wire carries."""
        with outside_inference_mode():
            return self._worker.learner.lora_state()

    # --- an epoch -------------------------------------------------------------------------------

    def _run_epoch(self, epoch: int) -> EpochReport:
        config, worker, clock = self.config, self._worker, _Clock()
        groups = 1 if not worker.model.conditional else config.samples_per_epoch // config.group_size
        each = config.samples_per_epoch // groups
        chosen = epoch_prompts(self._prompts, groups, config.seed, epoch)
        everybody = [prompt for prompt in chosen for _ in range(each)]
        seeds = epoch_seeds(len(everybody), config.seed, epoch)
        mine = worker.processes.share(len(everybody))
        steps = (mine.stop - mine.start) * len(worker.schedule.timesteps)
        counter = self._counter(epoch, "sampling", steps)
        trajectory, images = worker.sample(everybody[mine], seeds[mine], counter)
        clock.lap("sampling")
        self._counter(epoch, "scoring", len(images))(0)
        judged = judge(self._judges, self._histories, images, trajectory.prompts, everybody, config, worker.processes)
        clock.lap("scoring")
        learned = learn_epoch(
            worker, trajectory, judged.advantages, epoch, mine, lambda total: self._counter(epoch, "learning", total)
        )
        clock.lap("learning")
        self._durations.append(sum(clock.seconds.values()))
        return self._report(epoch, judged, learned, clock.seconds)

    def _report(self, epoch: int, judged: Judged, learned: dict[str, Any], seconds: dict[str, float]) -> EpochReport:
        note = ""
        if not judged.advantages.any():
            note = "All scores were the same, so there was nothing to learn from in this epoch."
            log.warning("Epoch %d: %s", epoch + 1, note)
        return EpochReport(
            epoch=epoch + 1,
            reward=float(judged.total.mean()),
            reward_std=float(judged.total.std(correction=0)),
            rewards={name: float(column.mean()) for name, column in judged.columns.items()},
            pictures=len(judged.total),
            seconds={name: round(value, 3) for name, value in seconds.items()},
            note=note,
            **learned,
        )

    def _counter(self, epoch: int, phase: str, total: int) -> Any:
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


def check_prompt_list(model: DiffusionModel, prompts: str | Sequence[str], negative_prompt: str) -> list[str]:
    """The distinct prompts to train on, in their order. Raises InputError for none and for unreadable ones."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not model.conditional:
        texts = texts or [""]
    texts = prompts_each(model, texts, negative_prompt, len(texts)) if texts else []
    if not texts or (model.conditional and not any(isinstance(t, str) and t.strip() for t in texts)):
        raise InputError("prompts", prompts, "There is nothing to train on: type at least one prompt.")
    return list(dict.fromkeys(texts))


def finetune(
    model: DiffusionModel,
    reward: Rewards,
    prompts: str | Sequence[str],
    config: DDPOConfig,
    *,
    negative_prompt: str = "",
    place: Place | None = None,
    on_progress: OnProgress | None = None,
    processes: Alone | None = None,
) -> FineTune:
    """Fine-tune a model on a reward with DDPO; iterate over the result to train.

    Raises InputError for what cannot be trained, before anything runs.
    """
    texts = check_prompt_list(model, prompts, negative_prompt)
    processes = processes or Alone()
    with outside_inference_mode():
        worker = Worker(model, config, negative_prompt, place, processes)
        stds = [worker.schedule.distribution(t, *_zeros()).std for t in range(len(worker.schedule.timesteps))]
        if not learnable_steps(torch.tensor(stds), config.window_start, config.window_stop):
            raise InputError(
                "window_start",
                (config.window_start, config.window_stop),
                "No step with noise lies between window_start and window_stop. Widen the window, or take more steps.",
            )
        return FineTune(worker, reward, texts, on_progress)


def _zeros() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)

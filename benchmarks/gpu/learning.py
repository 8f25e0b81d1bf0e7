"""Training SDXL of full size: seconds of each phase, pictures a second, peak memory."""

from __future__ import annotations

from typing import Any

import torch

from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel
from tastemaker.sampling import SampleOptions, SampleSettings, sample
from tastemaker.training import finetune, preset
from tastemaker.training.algorithms.ddpo import DDPO
from tastemaker.training.processes import SingleProcess
from tastemaker.training.rollout import Request
from tastemaker.training.scoring import Scorer
from tastemaker.training.trajectory import Pairs, micro_batches
from tastemaker.training.worker import Worker

from .correct import brightness_reward
from .models import full_size
from .rows import GPU, Rows, peak, timed

SIZE, PICTURES = (512, 32) if GPU else (64, 8)


def measure(rows: Rows) -> None:
    model = full_size()
    runs: list[tuple[str, int, int, dict[str, Any]]] = [
        ("clipped", SIZE, PICTURES, {}),
        ("matching", SIZE, PICTURES, {}),
        ("clipped", 2 * SIZE, 8, {"gradient_checkpointing": "on"}),
        ("matching", 2 * SIZE, 8, {"gradient_checkpointing": "on"}),
        ("reward_gradient", SIZE, PICTURES, {}),
        ("reward_gradient", 2 * SIZE, 8, {"gradient_checkpointing": "on"}),
    ]
    for algorithm, size, pictures, changes in runs[:2] if rows.quick else runs:
        epoch(rows, model, algorithm, size, pictures, **changes)
    if not rows.quick and rows.room("phases", 40 if GPU else 0):
        with rows.part("phases"):
            phases(rows, model)


def epoch(rows: Rows, model: DiffusionModel, algorithm: str, size: int, pictures: int, **changes: Any) -> None:
    """Measure the second of two epochs of the largest preset, with fewer pictures."""
    name = f"{algorithm} {size}"
    if not rows.room(name, 25 if GPU else 0):
        return
    with rows.part(name):
        told: dict[str, Any] = {
            "epochs": 2,
            "samples_per_epoch": pictures,
            "group_size": 8,
            "sample_every": 0,
            "guard": "off",
        }
        told |= {"algorithm": algorithm, "height": size, "width": size, **changes}
        config = preset("80 GB", **told)
        if GPU:
            torch.cuda.reset_peak_memory_stats()
        last = list(finetune(model, brightness_reward(), ["a red circle", "a blue star"], config))[-1]
        rows.row(
            "an epoch",
            algorithm=algorithm,
            size=size,
            pictures=pictures,
            pairs=last.figures.get("pairs"),
            updates=last.figures.get("updates"),
            per_s=pictures / sum(last.seconds.values()),
            peak_gb=peak(),
            seconds=dict(last.seconds),
            first_ratio_error=last.figures.get("first_ratio_error"),
        )


def phases(rows: Rows, model: DiffusionModel) -> None:
    """Measure rollouts with the LoRA in hooks and merged, and learning at several batches."""
    config = preset("80 GB", height=SIZE, width=SIZE, samples_per_epoch=PICTURES, group_size=8)
    worker = Worker(model, config)
    algorithm = DDPO(worker, Scorer([], config, SingleProcess()))
    count = PICTURES // 2
    texts, seeds = [f"a red circle, number {i}" for i in range(count)], range(count)
    request = Request(texts, seeds)
    figures = timed(lambda: worker.sample(request, Progress()), 1)
    rows.row("rollout, LoRA in hooks", size=SIZE, pictures=count, steps=config.steps, **figures)
    with rows.part("rollout merged"):
        merged = worker.learner.tuned("merged")
        settings = SampleSettings("ddim", config.steps, config.guidance_scale, 1.0, SIZE, SIZE)
        options = SampleOptions(at_once=count)
        figures = timed(lambda: sample(merged, texts, settings, seeds=seeds, options=options), 1)
        rows.row("rollout, LoRA merged", size=SIZE, pictures=count, steps=config.steps, **figures)
    trajectory = worker.sample(request, Progress())[0]
    pairs = Pairs(torch.arange(count).repeat_interleave(2), torch.tensor([0, 6] * count))
    advantages = torch.linspace(-1, 1, count, device=worker.device)
    for size in (4, 8, 16, 32):
        if not rows.room(f"pairs {size}", 10 if GPU else 0):
            return
        with rows.part(f"pairs {size}"), worker.learner.active(learning=True):
            batches = micro_batches(pairs, size)

            def learn() -> None:
                old = [None] * len(batches)  # noqa: B023
                algorithm.update(trajectory, batches, old, advantages, len(pairs.step), Progress())  # noqa: B023

            figures = timed(learn, 1)
            ms = 1e3 * figures.pop("s") / len(pairs.step)
            rows.row("learning", size=SIZE, pairs_at_once=size, ms_a_pair=ms, peak_gb=figures["peak_gb"])
        worker.learner.optimizer.zero_grad()
    rows.row("a snapshot", **timed(worker.learner.state, 1))

"""What DDPO costs: learning from full batches of (picture, step) pairs against ddpo-pytorch's order, and each preset.

ddpo-pytorch learns from one timestep of a few pictures at a time; everything else here is the same: pictures, steps,
network, precision, loss. Every measurement of memory is a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import torch

from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel, load_diffusion_model
from tastemaker.rewards import load_reward
from tastemaker.training import finetune, preset
from tastemaker.training.algorithms.ddpo import DDPO
from tastemaker.training.presets import PRESETS
from tastemaker.training.processes import SingleProcess
from tastemaker.training.rollout import Request
from tastemaker.training.scoring import Scorer
from tastemaker.training.trajectory import Pairs, learnable_steps, micro_batches
from tastemaker.training.worker import Worker

from .common import machine, medians, timed, write_section

SAMPLES, AT_ONCE, RUNS = 16, 4, 3  # pictures, those whose timestep the reference learns from together, repetitions
SAMPLING = "sampling alone"


def one_timestep_at_a_time(pictures: int, steps: Sequence[int], size: int) -> list[Pairs]:
    """ddpo-pytorch's order: a few pictures, then their steps one after the other."""
    rows = torch.arange(pictures).split(size)
    return [Pairs(part, torch.full_like(part, t)) for part in rows for t in steps]


def load(source: str) -> DiffusionModel:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_diffusion_model(source, dtype=torch.float16 if device == "cuda" else None, device=device)


class _Epoch:
    """Pictures sampled once; learning from all their steps can be done again and again."""

    def __init__(self, source: str, name: str, size: int) -> None:
        self.config = preset(
            name,
            height=size,
            width=size,
            samples_per_epoch=SAMPLES,
            group_size=SAMPLES,
            fresh_noise="everywhere",
            timestep_fraction=1.0,
        )
        self.worker = Worker(load(source), self.config)
        self.algorithm = DDPO(self.worker, Scorer([], self.config, SingleProcess()))
        self.texts = [f"a red circle, number {i}" if self.worker.model.conditional else "" for i in range(SAMPLES)]
        self.sample()
        steps = learnable_steps(self.trajectory.stds, 0.0, 1.0)
        every = Pairs(torch.arange(SAMPLES).repeat_interleave(len(steps)), torch.tensor(steps * SAMPLES))
        sizes = dict.fromkeys((self.config.train_batch_size, AT_ONCE))
        self.ways = {f"pairs in batches of {n}": micro_batches(every, n) for n in sizes}
        self.reference = f"one timestep of {AT_ONCE} pictures at a time"
        self.ways[self.reference] = one_timestep_at_a_time(SAMPLES, steps, AT_ONCE)

    def sample(self) -> None:
        self.trajectory = self.worker.sample(Request(self.texts, range(SAMPLES)), Progress())[0]

    def learn(self, way: str) -> torch.Tensor:
        """The gradient of every step of every picture, as one vector."""
        worker, advantages = self.worker, torch.linspace(-1, 1, SAMPLES, device=self.worker.device)
        batches = self.ways[way]
        total = sum(len(batch.step) for batch in batches)
        with worker.learner.active(learning=True):
            old = [None] * len(batches)  # as in the first update of an epoch
            self.algorithm.update(self.trajectory, batches, old, advantages, total, Progress())
        parameters = worker.learner.named_parameters().values()
        gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        worker.learner.optimizer.zero_grad()
        return gradient


def child(*arguments: str) -> list[str]:
    """What this benchmark prints in a process of its own; what it dies of, where it does."""
    command = [sys.executable, "-m", "benchmarks.ddpo", *arguments, "--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()


def peak_megabytes() -> float:
    import resource

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def speed(source: str, name: str, size: int, way: str | None) -> None:
    """Both orders in turn, with peak memory beside; with `way`, that one's memory alone."""
    if way is not None:
        epoch = _Epoch(source, name, size)
        if way != SAMPLING:
            epoch.learn(way)
        print(peak_megabytes())
        return
    common = ("speed", "--model", source, "--preset", name, "--sizes", str(size), "--peak")
    batch = preset(name).train_batch_size  # memory first: afterwards this process holds the device's
    ways = [f"pairs in batches of {n}" for n in dict.fromkeys((batch, AT_ONCE))]
    ways.append(f"one timestep of {AT_ONCE} pictures at a time")
    sampled, *peaks = (float(child(*common, w)[-1]) for w in (SAMPLING, *ways))
    epoch = _Epoch(source, name, size)
    theirs = epoch.learn(epoch.reference)
    apart = max(float((epoch.learn(w) - theirs).norm() / theirs.norm()) for w in ways[:-1])
    seconds = medians({w: (lambda w=w: epoch.learn(w)) for w in epoch.ways}, RUNS)
    sampling = min(timed(epoch.sample) for _ in range(RUNS))
    rows = []
    for w, megabytes in zip(ways, peaks, strict=True):
        ratio, rate = seconds[epoch.reference] / seconds[w], SAMPLES / (seconds[w] + sampling)
        rows.append(f"| {w} | {seconds[w]:.2f} | {ratio:.2f} | {rate:.3f} | {megabytes - sampled:.0f} |")
    dtype = str(epoch.worker.model.dtype).removeprefix("torch.")
    write_section(
        "DDPO: learning's arrangement",
        f"""
{machine()} {source}, preset {name}, {size or "its own"} px, {SAMPLES} pictures, {epoch.config.steps} steps, all learned
from, {dtype}, medians of {RUNS}, in turn. Sampling took {sampling:.1f} s.
The gradients differ by at most {apart:.1e} of their length.

| learning | s | reference / this | pictures a second, sampling included | memory beyond sampling's, MB |
|---|---|---|---|---|
{chr(10).join(rows)}
""",
    )


def one_epoch(source: str, name: str, size: int) -> float:
    """Pictures a second of an epoch of a preset at a size, the second of two."""
    model = load(source)
    size_of = {"height": size, "width": size, "samples_per_epoch": SAMPLES, "group_size": 8}
    config = preset(name, **size_of, epochs=2, sample_every=0, guard="off")
    prompts = ["a red circle", "a blue star"] if model.conditional else ""
    last = list(finetune(model, load_reward("jpeg-compressibility"), prompts, config))[-1]
    return SAMPLES / sum(last.seconds.values())


def presets(source: str, sizes: Sequence[int], only: str | None) -> None:
    """Pictures a second and peak memory of every preset at each size; with `only`, "PRESET@SIZE" alone."""
    if only is not None:
        name, size = only.split("@")
        print(f"{one_epoch(source, name, int(size)):.3f} | {peak_megabytes():.0f}")
        return
    rows = []
    for name in PRESETS:
        for size in sizes:
            said = child("presets", "--model", source, "--peak", f"{name}@{size}")
            found = said[-1] if said and said[-1][:1].isdigit() else f"{' '.join(said[-1:])[:200]} |"
            rows.append(f"| {name} | {size} | {found} |")
            print(rows[-1], flush=True)
    write_section(
        f"DDPO: presets, {source}",
        f"""
{machine()} {SAMPLES} pictures an epoch, each preset's own steps and batches, the second of two epochs.

| preset | pixels | pictures a second | peak memory, MB |
|---|---|---|---|
{chr(10).join(rows)}
""",
    )

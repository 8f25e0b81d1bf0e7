"""What DDPO costs: learning from full batches of (picture, step) pairs against ddpo-pytorch's order, and each preset.

ddpo-pytorch learns from one timestep of a few pictures at a time; everything else here is the same: pictures, steps,
network, precision, loss. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from tastemaker.loaders import load_diffusion_model
from tastemaker.rewards import load_reward
from tastemaker.training import finetune, preset
from tastemaker.training.config import PRESETS
from tastemaker.training.processes import Alone
from tastemaker.training.step import at_pairs, learn, transition
from tastemaker.training.trajectory import Pairs, Trajectory, learnable_steps, micro_batches
from tastemaker.training.worker import Worker

from .common import machine, medians, write_section

SAMPLES, AT_ONCE, RUNS = 16, 4, 3  # pictures, those whose timestep the reference learns from together, repetitions


def one_timestep_at_a_time(pictures: int, steps: Sequence[int], size: int) -> list[Pairs]:
    """ddpo-pytorch's order: a few pictures, then their steps one after the other."""
    rows = torch.arange(pictures).split(size)
    return [Pairs(part, torch.full_like(part, t)) for part in rows for t in steps]


class _Epoch:
    """Pictures sampled once; learning from all their steps can be done again and again."""

    def __init__(self, source: str) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.float16 if device == "cuda" else None
        # batches of one size in both orders: what differs is whether a batch may mix steps
        self.config = preset("CPU", samples_per_epoch=SAMPLES, group_size=SAMPLES, fresh_noise="everywhere")
        self.worker = Worker(load_diffusion_model(source, dtype=dtype, device=device), self.config, "", None, Alone())
        self.texts = [f"a red circle, number {i}" if self.worker.model.conditional else "" for i in range(SAMPLES)]
        start = time.perf_counter()
        self.trajectory: Trajectory = self.worker.sample(self.texts, range(SAMPLES), lambda more: None)[0]
        self.sampling = time.perf_counter() - start
        steps = learnable_steps(self.trajectory.stds, 0.0, 1.0)
        every = Pairs(torch.arange(SAMPLES).repeat_interleave(len(steps)), torch.tensor(steps * SAMPLES))
        self.ways = {
            f"pairs in batches of {self.config.train_batch_size}": micro_batches(every, self.config.train_batch_size),
            f"one timestep of {AT_ONCE} pictures at a time": one_timestep_at_a_time(SAMPLES, steps, AT_ONCE),
        }

    def learn(self, way: str) -> torch.Tensor:
        """The gradient of every step of every picture, as one vector."""
        worker, advantages = self.worker, torch.linspace(-1, 1, SAMPLES, device=self.worker.device)
        batches = self.ways[way]
        total = sum(len(batch.step) for batch in batches)
        with worker.learner.active(learning=True):
            for batch in batches:
                now = transition(
                    worker.network(worker.model, [self.texts[i] for i in batch.picture.tolist()]),
                    worker.schedule,
                    *at_pairs(self.trajectory, batch, worker.device),
                    batch.step.tolist(),
                )
                old = self.trajectory.log_probs[batch.picture, batch.step].to(worker.device)
                learn(worker.objective, now, None, old, advantages[batch.picture], total)
        gradient = torch.cat(
            [p.grad.flatten() for p in worker.learner.named_parameters().values() if p.grad is not None]
        )
        worker.learner.optimizer.zero_grad()
        return gradient


def peak(arguments: Sequence[str]) -> float:
    """MB at the most in a fresh process of this benchmark."""
    command = [sys.executable, "-m", "benchmarks.ddpo", *arguments, "--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak() -> None:
    import resource

    if torch.cuda.is_available():
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def speed(source: str, way: str | None) -> None:
    """Both orders in turn, with peak memory beside; with `way`, that one's memory alone."""
    epoch = _Epoch(source)
    if way is not None:
        if way in epoch.ways:
            epoch.learn(way)
        print_peak()
        return
    ours, theirs = (epoch.learn(name) for name in epoch.ways)
    apart = float((ours - theirs).norm() / theirs.norm())
    seconds = medians({name: (lambda name=name: epoch.learn(name)) for name in epoch.ways}, RUNS)
    sampled = peak(["speed", "--model", source, "--peak", "sampling alone"])
    memory = {name: peak(["speed", "--model", source, "--peak", name]) - sampled for name in epoch.ways}
    rows = [
        f"| {name} | {s:.1f} | {SAMPLES / (s + epoch.sampling):.3f} | {memory[name]:.0f} |"
        for name, s in seconds.items()
    ]
    write_section(
        "DDPO: learning's arrangement",
        f"""
{machine()} {source}, {SAMPLES} pictures, {epoch.config.steps} DDIM steps, all learned from, guidance
{epoch.config.guidance_scale:g}, {str(epoch.worker.model.dtype).removeprefix("torch.")}, medians of {RUNS}, in turn.
Sampling took {epoch.sampling:.1f} s. The gradients of both differ by {apart:.1e} of their length.

| learning | seconds | pictures a second, sampling included | memory beyond sampling's, MB |
|---|---|---|---|
{chr(10).join(rows)}
""",
    )


def one_epoch(source: str, name: str, size: int) -> float:
    """Pictures a second of an epoch of a preset at a size, the second of two."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = load_diffusion_model(source, dtype=torch.float16 if device == "cuda" else None, device=device)
    config = preset(name, height=size, width=size, epochs=2, sample_every=0, samples_per_epoch=SAMPLES, group_size=8)
    prompts = ["a red circle", "a blue star"] if model.conditional else ""
    last = list(finetune(model, load_reward("jpeg-compressibility"), prompts, config))[-1]
    return SAMPLES / sum(last.seconds.values())


def presets(source: str, sizes: Sequence[int], only: str | None) -> None:
    """Pictures a second and peak memory of every preset at each size; with `only`, "PRESET@SIZE" alone."""
    if only is not None:
        name, size = only.split("@")
        print(one_epoch(source, name, int(size)))
        print_peak()
        return
    rows = []
    for name in PRESETS:
        for size in sizes:
            memory = peak(["presets", "--model", source, "--peak", f"{name}@{size}"])
            rows.append(f"| {name} | {size} | {one_epoch(source, name, size):.3f} | {memory:.0f} |")
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

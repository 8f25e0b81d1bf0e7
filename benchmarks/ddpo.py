"""DDPO on the embedded models: does the reward rise on held-out prompts and seeds, and at what cost?

`python -m benchmarks.ddpo run jpeg --seed 0 --minutes 15 --out DIR` trains once and measures; a run that was stopped
goes on. `report --out DIR` writes what there is in DIR to RESULTS.md. Minutes are of processor time (one thread),
since machines may be shared. `speed` compares learning from full batches of (picture, step) pairs with one timestep
at a time, ddpo-pytorch's arrangement, with everything else the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from tastemaker.loaders import load_diffusion_model
from tastemaker.rewards import load_reward
from tastemaker.training import finetune, preset
from tastemaker.training.evaluate import compare_models
from tastemaker.training.processes import Alone
from tastemaker.training.step import at_pairs, learn, transition
from tastemaker.training.trajectory import Pairs, learnable_steps, micro_batches
from tastemaker.training.worker import Worker

from .common import machine, write_section

COLOURS = ("red", "blue", "green", "white", "yellow", "purple", "orange", "pink")
SHAPES = ("circle", "star", "heart", "square", "ring", "cross", "moon", "triangle")
TASKS = {
    "jpeg": ("tiny-sdxl", "jpeg-compressibility", "tiny-imagereward"),
    "imagereward": ("tiny-sdxl", "tiny-imagereward", "jpeg-compressibility"),
    "ddpm-jpeg": ("tiny-ddpm", "jpeg-compressibility", None),
}
SETTINGS = {
    "samples_per_epoch": 64,
    "steps": 8,
    "learning_rate": 3e-3,
    "warmup_updates": 8,
    "clip_range": 1.25e-3,
    "epochs": 10_000,
    "sample_every": 10,
}
PICTURES = 48


def prompts() -> tuple[list[str], list[str]]:
    """(trained on, held out): each shape and colour is in both, no pair of them is."""
    pairs = [(c, s, COLOURS[(i + j + 1) % 8]) for i, c in enumerate(COLOURS) for j, s in enumerate(SHAPES)]
    texts = [f"a {c} {s} on a {b} background" for c, s, b in pairs if c != b]
    return [t for i, t in enumerate(texts) if i % 7 % 3 != 2], [t for i, t in enumerate(texts) if i % 7 % 3 == 2]


def measure(base: Any, tuned: Any, rewards: list[tuple[str, Any]], held_out: list[str], config: Any) -> dict[str, Any]:
    """Base against tuned with the training sampler and with a user's."""
    texts = [held_out[i // 4 % len(held_out)] for i in range(PICTURES)]
    seeds = range(10**6, 10**6 + PICTURES)
    guided = {"guidance_scale": config.guidance_scale} if base.conditional else {}
    user = {"guidance_scale": 4.0} if base.conditional else {}
    return {
        "training sampler": compare_models(
            base, tuned, texts, seeds, rewards, scheduler="ddim", steps=config.steps, eta=1.0, **guided
        ),
        "ddim, 25 steps, eta 0": compare_models(
            base, tuned, texts, seeds, rewards, scheduler="ddim", steps=25, eta=0.0, **user
        ),
    }


def run(task: str, seed: int, minutes: float, out: Path, changes: dict[str, Any]) -> None:
    """Train for that long, then measure; writes DIR/TASK-SEED.json."""
    torch.set_num_threads(1)
    name, trained_on, watched = TASKS[task]
    model, reward = load_diffusion_model(name), load_reward(trained_on)
    rewards = [(r, load_reward(r)) for r in (trained_on, watched) if r]
    known, held_out = prompts() if model.conditional else ([""], [""])
    config = preset("CPU", **{**SETTINGS, "seed": seed, **changes})
    out.mkdir(parents=True, exist_ok=True)
    spending = out / f"{task}-{seed}.spent"  # (processor, clock) seconds at each epoch's end, over all calls
    spent = json.loads(spending.read_text()) if spending.exists() else [[0.0, 0.0]]
    fine_tune = finetune(model, reward, known if model.conditional else "", config, run_folder=out / f"{task}-{seed}")
    with fine_tune:
        spent = spent[: fine_tune.epoch + 1]
        while spent[-1][0] * (1 + 1 / max(fine_tune.epoch, 1)) < minutes * 60:
            before = time.process_time(), time.time()
            report = next(fine_tune)
            took = time.process_time() - before[0], time.time() - before[1]
            spent.append([total + more for total, more in zip(spent[-1], took, strict=True)])
            spending.write_text(json.dumps(spent))
            print(f"{task} {seed} epoch {report.epoch}: {report.reward:.4f}, {spent[-1][0]:.0f} s", flush=True)
        tuned = fine_tune.model
    figures = {
        "task": task,
        "seed": seed,
        "settings": {**SETTINGS, **changes},
        "pictures": len(fine_tune.reports) * config.samples_per_epoch,
        "minutes of processor time": spent[-1][0] / 60,
        "minutes on the clock": spent[-1][1] / 60,
        "curve": [r.reward for r in fine_tune.reports],
        "held out": measure(model, tuned, rewards, held_out, config),
    }
    (out / f"{task}-{seed}.json").write_text(json.dumps(figures, indent=1))


def line(found: list[dict[str, Any]], sampler: str, reward: str) -> str:
    """One row: means over seeds, with the smallest and largest gain."""
    rows = [f["held out"][sampler]["rewards"][reward] for f in found]
    base, tuned = (statistics.mean(r[k] for r in rows) for k in ("base", "tuned"))
    change = [100 * (r["tuned"] - r["base"]) / abs(r["base"]) for r in rows]
    gain = [r["gain_in_base_std"] for r in rows]
    wins = ", ".join(f"{r['win_rate']:.2f} ({r['win_rate_low']:.2f}-{r['win_rate_high']:.2f})" for r in rows)
    spread = f"{statistics.mean(change):+.1f}% ({min(change):+.1f} to {max(change):+.1f})"
    return f"| {sampler} | {reward} | {base:.3f} | {tuned:.3f} | {spread} | {statistics.mean(gain):+.2f} | {wins} |"


def report(out: Path) -> None:
    """RESULTS.md from the runs in a folder."""
    for task in TASKS:
        found = [json.loads(p.read_text()) for p in sorted(out.glob(f"{task}-[0-9]*.json"))]
        if not found:
            continue
        samplers = list(found[0]["held out"])
        rows = [line(found, s, r) for s in samplers for r in found[0]["held out"][s]["rewards"]]
        diversity = "; ".join(
            f"{s}: {statistics.mean(f['held out'][s]['diversity_base'] for f in found):.3f} before, "
            f"{statistics.mean(f['held out'][s]['diversity_tuned'] for f in found):.3f} after"
            for s in samplers
        )
        times = ", ".join(
            f"{f['minutes of processor time']:.1f} ({f['minutes on the clock']:.1f} on the clock)" for f in found
        )
        write_section(
            f"DDPO: {task}",
            f"""
{machine()} {TASKS[task][0]} trained on {TASKS[task][1]}, seeds {", ".join(str(f["seed"]) for f in found)}.
Settings beside the CPU preset: {found[0]["settings"]}. {found[0]["pictures"]} pictures sampled; minutes of one
processor: {times}. The machine was shared with other work. {PICTURES} held-out prompts and seeds, in pairs.

| sampler | reward | base | tuned | change, smallest and largest of the seeds | gain in base spreads | win rate (95%) |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Diversity within a prompt (root mean square distance): {diversity}.
""",
        )


def one_timestep_at_a_time(pictures: int, steps: list[int], size: int) -> list[Pairs]:
    """ddpo-pytorch's order: a few pictures, then their steps one after the other."""
    rows = torch.arange(pictures).split(size)
    return [Pairs(part, torch.full_like(part, t)) for part in rows for t in steps]


def speed(pictures: int, reference_size: int) -> None:
    """Processor seconds of learning once from every step of some pictures, both ways, and how far gradients differ."""
    torch.set_num_threads(1)
    model = load_diffusion_model("tiny-sdxl")
    config = preset("CPU", **{**SETTINGS, "samples_per_epoch": pictures, "group_size": pictures})
    worker = Worker(model, config, "", None, Alone())
    texts = [prompts()[0][i] for i in range(pictures)]
    start = time.process_time()
    trajectory, _ = worker.sample(texts, range(pictures), lambda more: None)
    sampling = time.process_time() - start
    steps = learnable_steps(trajectory.stds, 0.0, 1.0)
    advantages = torch.linspace(-1, 1, pictures)
    every = Pairs(torch.arange(pictures).repeat_interleave(len(steps)), torch.tensor(steps * pictures))
    ways = {
        f"pairs in batches of {config.train_batch_size}": micro_batches(every, config.train_batch_size),
        f"one timestep of {reference_size} pictures at a time": one_timestep_at_a_time(pictures, steps, reference_size),
    }
    seconds, gradients = {}, []
    for name, batches in ways.items():
        with worker.learner.active(learning=True):
            start = time.process_time()
            for batch in batches:
                now = transition(
                    worker.network(model, [texts[i] for i in batch.picture.tolist()]),
                    worker.schedule,
                    *at_pairs(trajectory, batch, worker.device),
                    batch.step.tolist(),
                )
                old = trajectory.log_probs[batch.picture, batch.step]
                learn(worker.objective, now, None, old, advantages[batch.picture], len(every.step))
            seconds[name] = time.process_time() - start
        ups = worker.learner.adapter.up.values()
        gradients.append(torch.cat([up.grad.flatten() for up in ups]))
        worker.learner.optimizer.zero_grad()
    apart = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    rows = "\n".join(f"| {k} | {v:.1f} | {pictures / (v + sampling):.3f} |" for k, v in seconds.items())
    write_section(
        "DDPO: learning's arrangement",
        f"""
{machine()} tiny-sdxl, {pictures} pictures, {config.steps} DDIM steps, all learned from, guidance
{config.guidance_scale:g}, float32, one thread, processor seconds, once. Sampling the pictures took {sampling:.1f} s.
The machine was shared with other work. The gradients of both differ by {apart:.1e} of their length.

| learning | seconds | pictures a second, sampling included |
|---|---|---|
{rows}
""",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report", "speed"))
    parser.add_argument("task", nargs="?", choices=tuple(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path, default=Path("/tmp/tastemaker-ddpo"))
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    if options.what == "run":
        run(options.task, options.seed, options.minutes, options.out, options.settings)
    elif options.what == "speed":
        speed(pictures=16, reference_size=4)
    else:
        report(options.out)


if __name__ == "__main__":
    main()

"""DDPO on the embedded models: does the reward rise on held-out prompts and seeds, and at what cost?

`python -m benchmarks.ddpo run jpeg --seed 0 --minutes 15 --out DIR` trains once and measures; `report --out DIR`
writes what there is in DIR to RESULTS.md. Minutes are of processor time (one thread), since machines may be shared.
`speed` compares learning from full batches of (picture, step) pairs with one timestep at a time.
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
    wall, start = time.time(), time.process_time()
    reports = []
    fine_tune = finetune(model, reward, known if model.conditional else "", config, run_folder=out / f"{task}-{seed}")
    with fine_tune:
        for report in fine_tune:
            spent = time.process_time() - start
            reports.append({"epoch": report.epoch, "reward": report.reward, "seconds": spent})
            print(f"{task} {seed}: {reports[-1]} clip {report.clip_fraction:.2f}", flush=True)
            if spent * (len(reports) + 1) / len(reports) > minutes * 60:
                break
        tuned = fine_tune.model
    figures = {
        "task": task,
        "seed": seed,
        "settings": {**SETTINGS, **changes},
        "pictures": len(reports) * config.samples_per_epoch,
        "minutes of processor time": (time.process_time() - start) / 60,
        "minutes on the clock": (time.time() - wall) / 60,
        "curve": reports,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("task", nargs="?", choices=tuple(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    if options.what == "run":
        run(options.task, options.seed, options.minutes, options.out, options.settings)
    else:
        report(options.out)


if __name__ == "__main__":
    main()

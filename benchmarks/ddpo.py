"""DDPO on the embedded models: does the reward rise on held-out prompts and seeds, and at what cost?

`python -m benchmarks.ddpo run jpeg --seed 0` trains once, for the task's minutes on the clock, and measures;
a run that was stopped goes on. `report` writes what there is to RESULTS.md, with curves and grids beside it. `speed`
and `presets` are in `ddpo_speed.py`: learning's arrangement against ddpo-pytorch's, and what each preset takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scripts.embedded.checker import read
from scripts.workflows.theme import PRACTISED as COLOURS
from tastemaker.core.progress import Progress
from tastemaker.loaders import load_diffusion_model
from tastemaker.loaders.formats.precision import native_bfloat16
from tastemaker.plots.series import Series, draw_series
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.output.comparison_sheet import comparison_sheet
from tastemaker.rewards import load_reward
from tastemaker.sampling import sample
from tastemaker.training import finetune, preset
from tastemaker.training.heldout import compare
from tastemaker.training.rollout import Request
from tastemaker.training.worker import Worker

from .common import machine, write_section

PICTURES_FOLDER = Path(__file__).parent / "ddpo"
SHAPES = ("circle", "star", "heart", "square", "ring", "cross", "moon", "triangle")
PICTURES = 64


class Task(NamedTuple):
    """One thing to learn.

    Attributes:
        model: whose.
        reward: trained on.
        watched: a reward that is not.
        prompt: with places for colour, shape and background; empty for an unconditional model.
        minutes: to learn in, on the clock.
        settings: beside the CPU preset.
        about: what there is to know about it.
    """

    model: str
    reward: str
    watched: str
    prompt: str
    minutes: float
    settings: dict[str, Any]
    about: str


_FLAT = (
    "The reward is minus the kB of a JPEG file: +25% is a quarter less. Nothing in it asks for a shape, and shapes go."
)
# a reward of pixels hardly varies by chance: few pictures of a prompt, from one start, say enough
_PIXELS = {
    **{"samples_per_epoch": 64, "group_size": 8, "shared_start": "on"},
    **{"updates_per_epoch": 2, "learning_rate": 1e-3},
}
_REFERENCE = {"fresh_noise": "everywhere", "shared_start": "off", "window_stop": 1.0, "learn_from": 1.0}
TASKS = {
    "jpeg": Task(
        model="tiny-sdxl",
        reward="jpeg-compressibility",
        watched="tiny-imagereward",
        prompt="a {} {} on a {} background",
        minutes=9,
        settings=_PIXELS | {"decay_updates": 40},
        about=_FLAT,
    ),
    "imagereward": Task(
        model="tiny-sdxl",
        reward="tiny-imagereward",
        watched="jpeg-compressibility",
        prompt="a small {} {} at the top of a {} background",
        minutes=14,
        settings={},
        about="tiny-sdxl ignores words for places; the reward reads them.",
    ),
    "ddpm-jpeg": Task(
        model="tiny-ddpm",
        reward="jpeg-compressibility",
        watched="clean shapes",
        prompt="",
        minutes=5,
        settings=_PIXELS | {"learning_rate": 4e-3},
        about=_FLAT,
    ),
}
TASKS["jpeg-reference"] = TASKS["jpeg"]._replace(
    minutes=10,
    settings=_PIXELS | _REFERENCE,
    about="As ddpo-pytorch learns: every step of every picture, fresh noise in each, starts of their own; to be "
    "compared with jpeg above. Its steps are learned from in full batches too, which flatters it a little.",
)

TASKS["aesthetic"] = Task(
    model="tiny-ddpm",
    reward="tiny-aesthetic",
    watched="clean shapes",
    prompt="",
    minutes=2,
    settings=_PIXELS | {"learning_rate": 2e-3},
    about="No prompt and a reward of the picture alone, as ddpo-aesthetic-church-256 was made.",
)
TASKS["aesthetic-matching"] = TASKS["aesthetic"]._replace(
    settings={"algorithm": "matching", "updates_per_epoch": 2, "timesteps_per_picture": 4},
    about="The same by matching; to be compared with aesthetic above.",
)
TASKS["aesthetic-gradient"] = TASKS["aesthetic"]._replace(
    settings={"algorithm": "reward_gradient", "samples_per_epoch": 32, "updates_per_epoch": 2, "learning_rate": 6e-4},
    about="The same by reward gradients; to be compared with aesthetic above.",
)
TASKS["imagereward-matching"] = TASKS["imagereward"]._replace(
    minutes=5,
    settings={"algorithm": "matching", "updates_per_epoch": 2, "timesteps_per_picture": 4},
    about="The same by matching, whose settings nobody has tuned; to be compared with imagereward above.",
)
TASKS["imagereward-gradient"] = TASKS["imagereward"]._replace(
    minutes=3,
    settings={"algorithm": "reward_gradient", "samples_per_epoch": 32, "updates_per_epoch": 2, "learning_rate": 6e-4},
    about="The same by reward gradients (DRaFT-LV); to be compared with imagereward above.",
)


def prompts(text: str) -> tuple[list[str], list[str]]:
    """(trained on, held out): every colour is in both; hearts and crosses are held out altogether."""
    if not text:
        return [""], [""]
    pairs = [(c, s, COLOURS[(i + j + 1) % 8]) for i, c in enumerate(COLOURS) for j, s in enumerate(SHAPES)]
    texts = [text.format(c, s, b) for c, s, b in pairs if c != b]
    return [t for i, t in enumerate(texts) if i % 7 % 3 != 2], [t for i, t in enumerate(texts) if i % 7 % 3 == 2]


def clean_shapes(images: torch.Tensor, _: Sequence[str]) -> torch.Tensor:
    """1 for each picture that the checker reads as a clean shape, else 0. Shape: (B, H, W, 3) to (B,)."""
    return torch.tensor([float(read(image.numpy()).clean) for image in images])


def reward_named(name: str) -> Any:
    return clean_shapes if name == "clean shapes" else load_reward(name)


def measure(task: Task, base: Any, tuned: Any, config: Any, sheet: Path) -> dict[str, Any]:
    """Base against tuned on held-out prompts and seeds, in training's own steps and in a user's; draws the sheet."""
    held_out = prompts(task.prompt)[1]
    labels = [held_out[i // 4 % len(held_out)] for i in range(PICTURES)]
    seeds = range(10**6, 10**6 + PICTURES)
    rewards = [(name, reward_named(name)) for name in (task.reward, task.watched)]
    user = {"guidance_scale": config.guidance_scale} if base.conditional else {}
    pictures = {
        f"as trained, {config.steps} steps": [trained_steps(m, config, labels, seeds) for m in (base, tuned)],
        "ddim, 25 steps, eta 0": [
            sample(m, labels if m.conditional else "", seeds=seeds, scheduler="ddim", steps=25, eta=0.0, **user).images
            for m in (base, tuned)
        ],
    }
    tables = [
        ScoreTable(b, tuple(labels), tuple(seeds), {n: r(b, labels).float() for n, r in rewards}, task.reward)
        for b in pictures["ddim, 25 steps, eta 0"]
    ]
    comparison_sheet(*tables).convert("RGB").save(sheet, quality=88)
    return {name: compare(*images, labels, rewards) for name, images in pictures.items()}


def trained_steps(model: Any, config: Any, labels: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
    """Pictures by the steps that training samples with, noise in the same ones. Shape: (B, H, W, 3)."""
    return Worker(model, config).sample(Request(labels, seeds), Progress(), base=True)[1]


def run(
    name: str, seed: int, out: Path, threads: int, minutes: float, changes: dict[str, Any], *, processor: bool = False
) -> None:
    """Train so many minutes on the clock (or `processor` minutes), then measure; writes OUT/NAME-SEED.json, .jpg."""
    torch.set_num_threads(threads)
    task = TASKS[name]
    dtype = torch.bfloat16 if native_bfloat16() else torch.float32
    model = load_diffusion_model(task.model, dtype=dtype)
    settings = {"guard": "off", **task.settings, **changes, "seed": seed, "epochs": 10_000, "sample_every": 0}
    config = preset("CPU", **settings)
    out.mkdir(parents=True, exist_ok=True)
    known = prompts(task.prompt)[0] if model.conditional else ""
    with finetune(model, load_reward(task.reward), known, config, run_folder=out / f"{name}-{seed}") as fine_tune:
        clock = _Clock(out / f"{name}-{seed}.seconds", fine_tune.epoch, processor=processor)
        while clock.after_another() < minutes * 60:
            report = next(fine_tune)
            clock.lap()
            print(f"{name} {seed} epoch {report.epoch}: {report.reward:.4f}, {clock.seconds[-1]:.0f} s", flush=True)
        tuned = fine_tune.model
    figures = {
        "task": name,
        "seed": seed,
        "settings": {**task.settings, **changes},
        "threads": threads,
        "dtype": str(dtype).removeprefix("torch."),
        "pictures": len(fine_tune.reports) * config.samples_per_epoch,
        "minutes": clock.seconds[-1] / 60,
        "timed by": "processor" if processor else "clock",
        "seconds": clock.seconds,
        "curve": [r.reward for r in fine_tune.reports],
        "held out": measure(task, model, tuned, config, out / f"{name}-{seed}.jpg"),
    }
    (out / f"{name}-{seed}.json").write_text(json.dumps(figures, indent=1))


class _Clock:
    """Seconds of training at each epoch's end, kept in a file over all calls."""

    def __init__(self, path: Path, epoch: int, *, processor: bool) -> None:
        self._now = time.process_time if processor else time.time
        self._path, self._last = path, self._now()
        known = json.loads(path.read_text()) if path.exists() else [0.0]
        self.seconds: list[float] = known[: epoch + 1]

    def lap(self) -> None:
        now = self._now()
        self.seconds.append(self.seconds[-1] + now - self._last)
        self._last = now
        self._path.write_text(json.dumps(self.seconds))

    def after_another(self) -> float:
        """Seconds after one more epoch like those so far."""
        return self.seconds[-1] * (1 + 1 / max(len(self.seconds) - 1, 1))


def line(found: list[dict[str, Any]], sampler: str, reward: str) -> str:
    """One row: means over seeds, with the smallest and largest gain."""
    rows = [f["held out"][sampler]["rewards"][reward] for f in found]
    base, tuned = (statistics.mean(r[k] for r in rows) for k in ("base", "tuned"))
    change = [100 * (r["tuned"] - r["base"]) / abs(r["base"]) for r in rows]
    gain = [r["gain_in_base_std"] for r in rows]
    wins = ", ".join(f"{r['win_rate']:.2f} ({r['win_rate_low']:.2f}-{r['win_rate_high']:.2f})" for r in rows)
    spread = f"{statistics.mean(change):+.1f}% ({min(change):+.1f} to {max(change):+.1f})"
    gains = f"{statistics.mean(gain):+.2f} ({min(gain):+.2f} to {max(gain):+.2f})"
    return f"| {sampler} | {reward} | {base:.3f} | {tuned:.3f} | {spread} | {gains} | {wins} |"


def curves(name: str, found: list[dict[str, Any]]) -> None:
    """The seeds' rewards over the epochs: their mean and spread, then each."""
    PICTURES_FOLDER.mkdir(exist_ok=True)
    epochs = min(len(f["curve"]) for f in found)
    columns = [[f["curve"][i] for f in found] for i in range(epochs)]
    series = [
        Series(
            f"{TASKS[name].reward}: mean of {len(found)} seeds, and their spread",
            [statistics.mean(c) for c in columns],
            [statistics.pstdev(c) for c in columns],
        ),
        *(Series(f"seed {f['seed']}", f["curve"]) for f in found),
    ]
    heading = f"{TASKS[name].model}, {epochs} epochs, {found[0]['pictures']} pictures"
    draw_series(series, heading).save(PICTURES_FOLDER / f"{name}_curve.png")


def _gain(figures: dict[str, Any], sampler: str, reward: str) -> float:
    return figures["held out"][sampler]["rewards"][reward]["gain_in_base_std"]


def report(out: Path) -> None:
    """RESULTS.md from the runs in a folder."""
    for name, task in TASKS.items():
        paths = sorted(out.glob(f"{name}-[0-9]*.json"))
        found = [json.loads(p.read_text()) for p in paths]
        if not found:
            continue
        curves(name, found)
        samplers = list(found[0]["held out"])
        by_gain = sorted(paths, key=lambda p: _gain(found[paths.index(p)], samplers[-1], task.reward))
        middle = by_gain[len(by_gain) // 2]
        (PICTURES_FOLDER / f"{name}.jpg").write_bytes(middle.with_suffix(".jpg").read_bytes())
        rows = [line(found, s, r) for s in samplers for r in found[0]["held out"][s]["rewards"]]
        diversity = "; ".join(
            f"{s}: {statistics.mean(f['held out'][s]['diversity_base'] for f in found):.3f} before, "
            f"{statistics.mean(f['held out'][s]['diversity_tuned'] for f in found):.3f} after"
            for s in samplers
        )
        usual = asdict(preset("CPU"))
        settings = {k: v for k, v in found[0]["settings"].items() if usual[k] != v}
        minutes = ", ".join(f"{f['minutes']:.1f}" for f in found)
        timed = "of processor time" if found[0].get("timed by") == "processor" else "on the clock"
        about = f'prompts like "{prompts(task.prompt)[0][0]}"' if task.prompt else "no prompts"
        write_section(
            f"DDPO: {name}",
            f"""
{machine()} {task.model} trained on {task.reward}, {about}, {found[0]["dtype"]}, {found[0]["threads"]} threads,
seeds {", ".join(str(f["seed"]) for f in found)}. Settings beside the CPU preset: {settings or "none"}.
{", ".join(str(f["pictures"]) for f in found)} pictures sampled in {minutes} minutes {timed}.
{PICTURES} held-out prompts and seeds, in pairs; {task.watched} is not trained on. {task.about}

| sampler | reward | base | tuned | change (least and most of the seeds) | gain in base spreads | win rate (95%) |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Diversity within a prompt (root mean square distance): {diversity}.

![Reward over the epochs](ddpo/{name}_curve.png)

The seed whose gain is in the middle, before on the left, after on the right:

![Before and after](ddpo/{name}.jpg)
""",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "report", "speed", "presets"))
    parser.add_argument("task", nargs="?", choices=tuple(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="instead of the task's")
    parser.add_argument("--processor", action="store_true", help="the minutes are of processor time, not on the clock")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("/tmp/tastemaker-ddpo"))
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, over the task's")
    parser.add_argument("--model", default="tiny-sdxl", help="speed and presets: a model's name or folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[0], help="in pixels; 512 1024 for SDXL, 0: its own")
    parser.add_argument("--preset", default="CPU", help="speed: whose batches")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "run":
        minutes = options.minutes or TASKS[options.task].minutes
        run(
            options.task,
            options.seed,
            options.out,
            options.threads,
            minutes,
            options.settings,
            processor=options.processor,
        )
    elif options.what == "report":
        report(options.out)
    else:
        from . import ddpo_speed

        torch.set_num_threads(options.threads)
        if options.what == "presets":
            ddpo_speed.presets(options.model, options.sizes, options.peak)
        else:
            ddpo_speed.speed(options.model, options.preset, options.sizes[0], options.peak)


if __name__ == "__main__":
    main()

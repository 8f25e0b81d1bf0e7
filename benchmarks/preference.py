"""Learning from pairs on tiny-sdxl: are held-out prompts and seeds won, and does the checker see what was asked for?

`python -m benchmarks.preference run imagereward --seed 0` makes the pairs, learns and measures; `report` writes what
there is to RESULTS.md. Figures are processor seconds, since the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scripts.embedded.checker import read
from tastemaker.loaders import load_diffusion_model
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.intervals import win_rate
from tastemaker.ranking.output.comparison_sheet import comparison_sheet
from tastemaker.rewards import load_reward
from tastemaker.sampling import sample
from tastemaker.training import PreferenceConfig, Preferences, preference_tune
from tastemaker.training.heldout import compare
from tastemaker.training.preference.config import with_preset
from tastemaker.training.preference.sources import from_ranked, from_tables

from .common import machine, write_section
from .ddpo import SHAPES, TASKS, prompts

PICTURES_FOLDER = Path(__file__).parent / "preference"
PICTURES, OF_A_PROMPT, PAIRS = 128, 10, 200
PLACE = TASKS["imagereward"].prompt
SAMPLERS = {
    "ddim, 12 steps, eta 1": {"scheduler": "ddim", "steps": 12, "eta": 1.0},
    "ddim, 25 steps, eta 0": {"scheduler": "ddim", "steps": 25, "eta": 0.0},
}


class Task(NamedTuple):
    """What is learned: settings beside the CPU preset, and what is measured beside the win rate."""

    settings: dict[str, Any]
    about: str


_SETTINGS = {"learning_rate": 6e-4, "proximal_weight": 0.5, "epochs": 10, "rank": 16}
TASKS_HERE = {
    "imagereward": Task(_SETTINGS, "Pairs: of 10 pictures of each of 40 prompts the 5 best with the 5 worst."),
    "red-over-blue": Task(
        {}, "Pairs by hand: the same scene and seed in red and in blue, under a prompt without colour."
    ),
}


def _sampled(model: Any, labels: Sequence[str], seeds: Sequence[int], **how: Any) -> torch.Tensor:
    return sample(model, list(labels), seeds=seeds, guidance_scale=3.0, **how).images


def _table(images: torch.Tensor, labels: Sequence[str], seeds: Sequence[int], scores: torch.Tensor) -> ScoreTable:
    return ScoreTable(images, tuple(labels), tuple(seeds), {"score": scores.float()}, "score")


def imagereward_pairs(model: Any, seed: int) -> Preferences:
    """The reward's order of the base's pictures of prompts to practise on."""
    labels = [p for p in prompts(PLACE)[0] for _ in range(OF_A_PROMPT)]
    seeds = [1000 * seed + i for i in range(len(labels))]
    images = _sampled(model, labels, seeds, **SAMPLERS["ddim, 12 steps, eta 1"])
    reward = load_reward("tiny-imagereward")
    found = from_ranked(_table(images, labels, seeds, reward(images, labels)), pairs_per_prompt=OF_A_PROMPT // 2)
    assert len(found.groups) == PAIRS, found.remarks
    return found


def colourless() -> tuple[list[str], list[str]]:
    """(practised, held out) prompts that name no colour of the shape; hearts and crosses are held out."""
    grounds = ("green", "white", "yellow", "purple")
    texts = [(s, f"a {s} on a {g} background") for s in SHAPES for g in grounds]
    held_out = ("heart", "cross")
    return [t for s, t in texts if s not in held_out], [t for s, t in texts if s in held_out]


def red_over_blue_pairs(model: Any, seed: int) -> Preferences:
    """Pictures of one seed with red and with blue in the prompt, under the prompt without either."""
    labels = [p for p in colourless()[0] for _ in range(9)][:PAIRS]
    seeds = [1000 * seed + i for i in range(len(labels))]
    none = torch.zeros(len(labels))
    red, blue = (
        _table(
            _sampled(
                model, [p.replace("a ", f"a {c} ", 1) for p in labels], seeds, **SAMPLERS["ddim, 12 steps, eta 1"]
            ),
            labels,
            seeds,
            none,
        )
        for c in ("red", "blue")
    )
    return from_tables(red, blue)


def _right(images: torch.Tensor, labels: Sequence[str]) -> dict[str, float]:
    """Shares that the checker reads: the prompt's shape, its background, at the top, red, and a clean shape."""
    found = [read(image.numpy()) for image in images]
    return {
        "shape": statistics.mean(r.shape in p.split() for r, p in zip(found, labels, strict=True)),
        "background": statistics.mean(
            p.endswith(f"{r.background} background") for r, p in zip(found, labels, strict=True)
        ),
        "at the top": statistics.mean(r.position == "top" for r in found),
        "red": statistics.mean(r.colour == "red" for r in found),
        "clean": statistics.mean(r.clean for r in found),
    }


def _redness(images: torch.Tensor, _: Sequence[str]) -> torch.Tensor:
    """1 where the checker reads a red shape, else 0."""
    return torch.tensor([float(read(image.numpy()).colour == "red") for image in images])


def run(name: str, seed: int, out: Path, changes: dict[str, Any]) -> None:
    """Make pairs, learn from them, measure; writes OUT/NAME-SEED.json and .jpg."""
    out.mkdir(parents=True, exist_ok=True)
    model = load_diffusion_model("tiny-sdxl")
    started = time.process_time()
    by_reward = name == "imagereward"
    known = (imagereward_pairs if by_reward else red_over_blue_pairs)(model, seed)
    made = time.process_time() - started
    settings = {**TASKS_HERE[name].settings, **changes}
    config: PreferenceConfig = with_preset("CPU", None, model, sample_every=0, seed=seed, **settings)
    reports, learning, since = [], 0.0, time.process_time()
    run = preference_tune(model, known, config)
    for report in run:
        learning += time.process_time() - since
        reports.append(report)
        asked = (report.evaluation or {}).get("accuracy")
        print(f"{name} {seed} epoch {report.epoch}: {report.loss:.3f}, held out {asked}, {learning:.0f} s", flush=True)
        since = time.process_time()
    reward = load_reward("tiny-imagereward") if by_reward else _redness
    held_out = prompts(PLACE)[1] if by_reward else colourless()[1]
    labels = [held_out[i // 4 % len(held_out)] for i in range(PICTURES)]
    seeds = list(range(10**6, 10**6 + PICTURES))
    found: dict[str, Any] = {}
    for sampler, how in SAMPLERS.items():
        base, tuned = (_sampled(m, labels, seeds, **how) for m in (model, run.model))
        found[sampler] = compare(base, tuned, labels, [("judge", reward)])
        found[sampler] |= {"read_base": _right(base, labels), "read_tuned": _right(tuned, labels)}
        if by_reward:
            tops = [torch.tensor([float(read(i.numpy()).position == "top") for i in x]) for x in (base, tuned)]
            found[sampler]["checker"] = list(win_rate(*tops))
    tables = [_table(x, labels, seeds, reward(x, labels)) for x in (base, tuned)]
    comparison_sheet(*tables).convert("RGB").save(out / f"{name}-{seed}.jpg", quality=88)
    figures = {
        "seed": seed,
        "settings": settings,
        "pairs": len(known.groups),
        "epochs": config.epochs,
        "seconds_pairs": made,
        "seconds_learning": learning,
        "loss": [r.loss for r in reports],
        "held_out": [(r.evaluation or {}).get("accuracy") for r in reports],
        "found": found,
    }
    (out / f"{name}-{seed}.json").write_text(json.dumps(figures, indent=1))


def _rows(figures: dict[str, Any]) -> list[str]:
    rows = []
    for sampler, found in figures["found"].items():
        judge, before, after = found["rewards"]["judge"], found["read_base"], found["read_tuned"]
        reads = "; ".join(f"{k} {before[k]:.0%} to {after[k]:.0%}" for k in before)
        wins = f"{judge['win_rate']:.0%} ({judge['win_rate_low']:.0%} to {judge['win_rate_high']:.0%})"
        checker = "{:.0%} ({:.0%} to {:.0%})".format(*found["checker"]) if "checker" in found else ""
        diversity = f"{found['diversity_base']:.3f} to {found['diversity_tuned']:.3f}"
        gain = f"{judge['gain_in_base_std']:+.2f}"
        rows.append(f"| {figures['seed']} | {sampler} | {wins} | {checker} | {gain} | {diversity} | {reads} |")
    return rows


def report(out: Path) -> None:
    """RESULTS.md from the runs in a folder."""
    PICTURES_FOLDER.mkdir(exist_ok=True)
    for name, task in TASKS_HERE.items():
        paths = sorted(out.glob(f"{name}-[0-9]*.json"))
        every = [json.loads(path.read_text()) for path in paths]
        if not every:
            continue
        (PICTURES_FOLDER / f"{name}.jpg").write_bytes(paths[0].with_suffix(".jpg").read_bytes())
        seconds = "; ".join(
            f"{f['seconds_pairs']:.0f} for the pairs, {f['seconds_learning']:.0f} to learn" for f in every
        )
        judge = "tiny-imagereward" if name == "imagereward" else "whether the checker reads red"
        write_section(
            f"Preference: {name}",
            f"""
{machine()} tiny-sdxl, {every[0]["pairs"]} pairs, {every[0]["epochs"]} epochs, settings beside the CPU preset:
{every[0]["settings"] or "none"}. {task.about} Processor seconds by seed: {seconds}. Wins are over {PICTURES} held-out
prompts and seeds, tuned against base, judged by {judge}; the checker's are of shapes at the top. 95% intervals.

| seed | sampler | wins | wins by the checker | gain in base spreads | diversity | read right, base to tuned |
|---|---|---|---|---|---|---|
{chr(10).join(row for f in every for row in _rows(f))}

Before on the left, after on the right, seed {every[0]["seed"]}:

![Before and after](preference/{name}.jpg)
""",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("task", nargs="?", choices=tuple(TASKS_HERE))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("/tmp/tastemaker-preference"))
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, over the task's")
    options = parser.parse_args()
    if options.what == "run":
        run(options.task, options.seed, options.out, options.settings)
    else:
        report(options.out)


if __name__ == "__main__":
    main()

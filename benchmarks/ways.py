"""All ways of learning on the same tasks: gain, diversity and what a checker reads, against processor seconds.

`python -m benchmarks.ways run place matching --seed 0` trains once for the task's processor seconds and looks at
held-out prompts and seeds on the way and at the end; `report` puts what there is into one table in RESULTS.md, in which
rows of other ways stay as they are, as do the words below it. Looking is not counted as learning; the guard's own
comparisons are.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scripts.embedded.checker import read
from tastemaker.loaders import load_diffusion_model
from tastemaker.loaders.formats.precision import native_bfloat16
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.output.comparison_sheet import comparison_sheet
from tastemaker.rewards import custom, load_reward
from tastemaker.sampling import sample
from tastemaker.training import finetune, preset
from tastemaker.training.heldout import diversity

from .common import RESULTS, machine, write_section
from .ddpo import PICTURES, PICTURES_FOLDER, TASKS, clean_shapes, prompts, reward_named, trained_steps

EVERY = 30.0  # processor seconds between looks
# What a picture's mean brightness, from 0 to 1, is worth beside tiny-imagereward. Of the base's pictures of one prompt
# the brightness has a standard deviation of 0.0026, the honest reward one of 0.32: so both count alike at first.
BRIBE = 120.0


class Way(NamedTuple):
    """How one task is learned: for so many processor seconds, with these settings beside the CPU preset's."""

    seconds: float
    settings: dict[str, Any]


class Job(NamedTuple):
    """A task, after one of `ddpo.TASKS`, and its ways by name."""

    like: str
    ways: dict[str, Way]
    wanted: str


_MATCHING = {"algorithm": "matching", "updates_per_epoch": 2, "timesteps_per_picture": 4, "rehearsal_weight": 0.0}
_GRADIENT = {"algorithm": "reward_gradient", "samples_per_epoch": 32, "updates_per_epoch": 2, "learning_rate": 6e-4}
_REHEARSED = {**_MATCHING, "rehearsal_weight": 0.1}
_UNGUARDED = {"guard": "off"}
_GUARDED = {"guard": "on", "evaluate_every": 1, "evaluate_samples": 32, "evaluate_steps": 0}
JOBS = {
    "place": Job(
        "imagereward",
        {
            "clipped": Way(810, _UNGUARDED),
            "matching": Way(270, {**_MATCHING, **_UNGUARDED}),
            "matching, rehearsed": Way(270, {**_REHEARSED, **_UNGUARDED}),
            "reward_gradient": Way(120, {**_GRADIENT, **_UNGUARDED}),
        },
        "+1.23 in 270 s, diversity 60%, read right 95%",
    ),
    "jpeg": Job(
        "jpeg",
        {
            "clipped": Way(540, {**TASKS["jpeg"].settings, **_UNGUARDED}),
            "matching": Way(180, {**_MATCHING, "samples_per_epoch": 64, "group_size": 8, **_UNGUARDED}),
            "matching, guarded": Way(180, {**_MATCHING, "samples_per_epoch": 64, "group_size": 8, **_GUARDED}),
        },
        "25% fewer bytes in 180 s; guarded 15% with the shape right in 80%",
    ),
    "aesthetic": Job(
        "aesthetic",
        {
            "clipped": Way(120, {**TASKS["aesthetic"].settings, **_UNGUARDED}),
            "matching": Way(120, {**_MATCHING, **_UNGUARDED}),
            "reward_gradient": Way(60, {**_GRADIENT, **_UNGUARDED}),
        },
        "+1, diversity 60%, clean 80%",
    ),
    "bribe": Job(
        "imagereward",
        {
            "matching": Way(240, {**_MATCHING, **_UNGUARDED}),
            "matching, guarded": Way(240, {**_MATCHING, **_GUARDED}),
            "matching, guarded, rehearsed": Way(240, {**_REHEARSED, **_GUARDED}),
        },
        "guarded keeps 90% of the honest gain and loses at most a third of the diversity",
    ),
}


def bribed(honest: Any) -> Any:
    """A reward with a hole: the honest one's score, and more for brighter pictures."""

    def score(images: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        return honest(images, list(texts)) + BRIBE * images.mean(dim=(1, 2, 3))

    return custom("bribed", score)


def read_right(images: torch.Tensor, labels: Sequence[str]) -> float:
    """Share of pictures in which the checker reads the shape, the colour and the background of their prompt."""
    right = 0
    for image, label in zip(images, labels, strict=True):
        words, found = label.split(), read(image.numpy())
        first = 2 if words[1] == "small" else 1
        right += (found.colour, found.shape, found.background) == (words[first], words[first + 1], words[-2])
    return right / len(labels)


class Looks:
    """Look at a model's pictures of held-out prompts and seeds: the base's once, a tuned one's as it goes on."""

    def __init__(self, job: Job, model: Any, config: Any) -> None:
        task = TASKS[job.like]
        texts = prompts(task.prompt)[1]
        self.labels = [texts[i // 4 % len(texts)] for i in range(PICTURES)]
        self.seeds = range(10**6, 10**6 + PICTURES)
        self.task, self.config, self.model = task, config, model
        self.rewards = {name: reward_named(name) for name in (task.reward, task.watched)}
        self.samplers: dict[str, Callable[[Any], torch.Tensor]] = {
            "as trained": lambda m: trained_steps(m, config, self.labels, self.seeds),
            "ddim, 25 steps, eta 0": self._as_used,
        }
        self.base = {name: self._figures(made(model)) for name, made in self.samplers.items()}

    def _as_used(self, model: Any) -> torch.Tensor:
        guided = {"guidance_scale": self.config.guidance_scale} if model.conditional else {}
        texts = self.labels if model.conditional else ""
        return sample(model, texts, seeds=self.seeds, scheduler="ddim", steps=25, eta=0.0, **guided).images

    def _figures(self, images: torch.Tensor) -> dict[str, float]:
        scores = {name: reward(images, self.labels).float() for name, reward in self.rewards.items()}
        found = {name: float(values.mean()) for name, values in scores.items()}
        found["spread"] = float(scores[self.task.reward].std(correction=0))
        found["diversity"] = diversity(images, self.labels)
        found["brightness"] = float(images.mean())
        found["clean"] = float(clean_shapes(images, self.labels).mean())
        if self.model.conditional:
            found["right"] = read_right(images, self.labels)
        return found

    def at(self, tuned: Any, sampler: str) -> dict[str, float]:
        """Figures of a tuned model: gain in the base's standard deviations, and shares of the base's."""
        found, base = self._figures(self.samplers[sampler](tuned)), self.base[sampler]
        reward, watched = self.task.reward, self.task.watched
        return {
            "gain": (found[reward] - base[reward]) / base["spread"],
            "percent": 100 * (found[reward] - base[reward]) / abs(base[reward]),
            "watched": found[watched] - base[watched],
            "diversity": found["diversity"] / base["diversity"],
            "brightness": found["brightness"] - base["brightness"],
            **{name: found[name] for name in ("clean", "right") if name in found},
        }

    def sheet(self, tuned: Any, path: Path) -> None:
        """Draw pictures before and after, side by side."""
        tables = []
        for one in (self.model, tuned):
            images = self._as_used(one)
            columns = {name: reward(images, self.labels).float() for name, reward in self.rewards.items()}
            tables.append(ScoreTable(images, tuple(self.labels), tuple(self.seeds), columns, self.task.reward))
        comparison_sheet(*tables).convert("RGB").save(path, quality=88)


def run(job: Job, name: str, way: str, seed: int, out: Path, seconds: float | None, changes: dict[str, Any]) -> None:
    """Train once and look; writes OUT/NAME-WAY-SEED.json and .jpg."""
    torch.set_num_threads(1)
    given = job.ways[way]
    seconds = seconds or given.seconds
    task = TASKS[job.like]
    model = load_diffusion_model(task.model, dtype=torch.bfloat16 if native_bfloat16() else torch.float32)
    settings = {**given.settings, **changes, "seed": seed, "epochs": 10_000, "sample_every": 0}
    config = preset("CPU", **settings)
    looks = Looks(job, model, config)
    honest = load_reward(task.reward)
    reward = bribed(honest) if name == "bribe" else honest
    watched = {"watched_reward": reward_named(task.watched) if name != "bribe" else honest}
    trained = prompts(task.prompt)[0] if model.conditional else ""
    spent, rows, stopped = 0.0, [], ""
    with finetune(model, reward, trained, config, **(watched if config.guarded else {})) as learning:
        while spent < seconds and not stopped:
            begun = time.process_time()
            report = next(learning)
            spent, stopped = spent + time.process_time() - begun, learning.stopped
            if spent >= EVERY * (len(rows) + 1):
                rows.append({"seconds": spent, "epoch": report.epoch, **looks.at(learning.model, "as trained")})
                print(json.dumps({k: round(v, 3) for k, v in rows[-1].items()}), flush=True)
        tuned = learning.model
        found = {
            **{"task": name, "way": way, "seed": seed, "settings": {**given.settings, **changes}},
            **{"seconds": spent, "pictures": sum(r.pictures for r in learning.reports), "stopped": stopped},
            **{"kept": learning.kept, "rows": rows},
            "end": {sampler: looks.at(tuned, sampler) for sampler in looks.samplers},
        }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-{way.replace(', ', '-')}-{seed}.json"
    looks.sheet(tuned, path.with_suffix(".jpg"))
    path.write_text(json.dumps(found, indent=1))


def reached(found: dict[str, Any], gain: float) -> float | None:
    """Processor seconds at which a run's gain was first so high, or None."""
    return next((row["seconds"] for row in found["rows"] if row["gain"] >= gain), None)


def _spread(values: Sequence[float], form: str = "{:+.2f}") -> str:
    middle, *ends = statistics.mean(values), min(values), max(values)
    return form.format(middle) + (f" ({form.format(ends[0])} to {form.format(ends[1])})" if len(values) > 1 else "")


def line(found: list[dict[str, Any]], sampler: str) -> str:
    """One row of the table: means over the seeds, with the least and the most."""
    ends = [one["end"][sampler] for one in found]
    first = found[0]
    right = "right" if "right" in ends[0] else "clean"
    cells = [
        first["task"],
        first["way"],
        ", ".join(str(one["seed"]) for one in found),
        _spread([one["seconds"] for one in found], "{:.0f}"),
        sampler,
        _spread([end["gain"] for end in ends]),
        _spread([end["percent"] for end in ends], "{:+.1f}%"),
        _spread([100 * end["diversity"] for end in ends], "{:.0f}%"),
        f"{_spread([100 * end[right] for end in ends], '{:.0f}%')} {right}",
        _spread([end["watched"] for end in ends], "{:+.3f}"),
    ]
    return "| " + " | ".join(cells) + " |"


def on_the_way(found: dict[str, Any]) -> str:
    """One line of a run's looks: seconds, gain, and diversity in percent of the base's."""
    steps = [f"{row['seconds']:.0f} s {row['gain']:+.2f} / {100 * row['diversity']:.0f}%" for row in found["rows"]]
    return f"- {found['task']}, {found['way']}, seed {found['seed']}: {', '.join(steps)}"


TITLE = "Ways of learning, one table"


class Written(NamedTuple):
    """What RESULTS.md says so far: rows of the table and looks by (task, way), and the words below them."""

    rows: dict[tuple[str, str], list[str]]
    looks: dict[tuple[str, str], list[str]]
    words: str


def written(text: str) -> Written:
    """Read the section back."""
    section = text.partition(f"\n## {TITLE}")[2].partition("\n## ")[0]
    rows: dict[tuple[str, str], list[str]] = {}
    looks: dict[tuple[str, str], list[str]] = {}
    below = ""
    for one in section.splitlines(keepends=True):
        cells = [cell.strip() for cell in one.split("|")]
        look = re.match(r"- (\w+), (.+), seed \d+:", one)
        if look:
            looks.setdefault((look[1], look[2]), []).append(one.strip())
            below = ""
        elif len(cells) > 3 and cells[1] in JOBS:
            rows.setdefault((cells[1], cells[2]), []).append(one.strip())
        else:
            below += one
    return Written(rows, looks, below.strip() if looks else "")


def report(out: Path) -> None:
    """Write the table of all runs in a folder, and of the ways that are in it already."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    rows, looks, words = written(RESULTS.read_text(encoding="utf-8"))
    for name, job in JOBS.items():
        for way in job.ways:
            runs = sorted((one for one in found if (one["task"], one["way"]) == (name, way)), key=lambda o: o["seed"])
            if not runs:
                continue
            rows[name, way] = [line(runs, sampler) for sampler in runs[0]["end"]]
            looks[name, way] = [on_the_way(one) for one in runs]
            PICTURES_FOLDER.mkdir(exist_ok=True)
            stem = f"{name}-{way.replace(', ', '-')}"
            middle = sorted(runs, key=lambda one: one["end"]["as trained"]["gain"])[len(runs) // 2]
            (PICTURES_FOLDER / f"way-{stem}.jpg").write_bytes((out / f"{stem}-{middle['seed']}.jpg").read_bytes())
    order = [(name, way) for name, job in JOBS.items() for way in job.ways]
    wanted = [f"{name}: {job.wanted}" for name, job in JOBS.items() if any(key[0] == name for key in rows)]
    write_section(
        TITLE,
        f"""
{machine()} `python -m benchmarks.ways`; one thread, the CPU preset, {PICTURES} held-out prompts and seeds in pairs.
Gain is in standard deviations of the base's scores. Means over the seeds, with the least and the most. "right": the
checker reads shape, colour and background of the prompt; "clean": it reads a clean shape. Watched is the change of a
reward that nothing is learned from. Wanted: {"; ".join(wanted)}.

| task | way | seeds | processor seconds | sampler | gain | change | diversity of the base's | checker | watched |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(one for key in order for one in rows.get(key, []))}

On the way, as trained: seconds, gain / diversity of the base's. Pictures that obey "a small ... at the top" perfectly,
drawn by the world's own program, have 37% of the base's diversity: less than that is collapse.

{chr(10).join(one for key in order for one in looks.get(key, []))}

{words}
""",
    )


def main() -> None:
    """Run, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("task", nargs="?", choices=tuple(JOBS))
    parser.add_argument("way", nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="of processor time, instead of the way's")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, over the way's")
    parser.add_argument("--out", type=Path, default=Path("/tmp/tastemaker-ways"))
    given = parser.parse_args()
    if given.what == "report":
        report(given.out)
    else:
        run(JOBS[given.task], given.task, given.way, given.seed, given.out, given.seconds, given.settings)


if __name__ == "__main__":
    main()

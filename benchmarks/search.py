"""Reward against cost of every way to search, on tiny-sdxl with tiny-imagereward: `python -m benchmarks.search`.

Prompts are scenes that neither model was taught. Two figures stand beside the reward, which is what is searched by: the
share of best pictures in which the checker reads all that the prompt says, in a clean shape, which nobody optimised,
and how far apart the pixels of the four best are. Best-of-N of every N comes from one pool of 32 pictures a prompt and
seed, over all its subsets. Every search is kept in a file as soon as it is done, so a run goes on where it stopped;
`--write` makes table and picture of what there is. `--pilot` tries settings on other prompts and seeds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from scripts.embedded.checker import Reading, read
from scripts.embedded.world import caption, random_scene
from tastemaker.loaders import load_diffusion_model
from tastemaker.plots.lines import Line, draw_lines
from tastemaker.ranking.intervals import mean_reach
from tastemaker.rewards import load_reward
from tastemaker.sampling.settings import SampleOptions, SampleSettings
from tastemaker.search import Found, SearchSettings, search

from .common import machine, write_section

STEPS, GUIDANCE, POOL, BUDGETS, MOST = 8, 3.0, 32, (8, 16), 64
PROMPTS_SEED, PILOT_SEED = 15, 1500
FILE = Path(".cache/search/searches.jsonl")
PICTURE = Path("docs/search.png")
# name -> settings of the search and eta, as the pilot chose them
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "particle steering": ({"strength": 4.0, "potential": "max", "look_every": 1, "look_from": 0.25}, 1.0),
    "drafts": ({"strength": 10.0, "guide_scale": 0.3, "draft_steps": 2}, 0.0),
    "noise search": ({"first_share": 0.5, "angle": 0.5}, 0.0),
    "prune": ({"look_from": 0.25, "finish": 0.25}, 0.0),
}
PILOT: dict[str, tuple[dict[str, Any], float]] = {
    **{f"best_of_n eta {eta}": ({"method": "best_of_n"}, eta) for eta in (0.0, 1.0)},
    **{
        f"particle steering {s:g} {p} {t}": (
            {"method": "particle steering", "strength": s, "potential": p, "temperature": t, "look_every": every},
            1.0,
        )
        for s, p, t, every in (
            (1.0, "difference", "fixed", 1),
            (4.0, "difference", "fixed", 1),
            (10.0, "difference", "fixed", 2),
            (4.0, "max", "fixed", 1),
            (10.0, "difference", "adaptive", 1),
        )
    },
    **{
        f"drafts {s:g} x {g:g}, {n}": ({"method": "drafts", "strength": s, "guide_scale": g, "draft_steps": n}, 0.0)
        for s, g, n in ((4.0, 0.1, 4), (4.0, 0.5, 4), (4.0, 1.0, 4), (10.0, 0.3, 2))
    },
    **{
        f"noise search {a:g} from {f:g}": ({"method": "noise search", "angle": a, "first_share": f}, 0.0)
        for a, f in ((0.3, 0.5), (0.5, 0.5), (0.8, 0.5), (0.5, 0.25))
    },
    **{
        f"prune at {c:g}, {f:g}": ({"method": "prune", "look_from": c, "finish": f}, 0.0)
        for c, f in ((0.25, 0.25), (0.5, 0.25))
    },
}


class Measured(NamedTuple):
    """One prompt's search with one seed; of a pool the scores and readings of all its pictures."""

    method: str
    pictures: int
    prompt: int
    seed: int
    scores: list[float]
    right: list[bool]
    apart: float
    cost: list[float]


class Bench:
    """Runs searches that are not in the file yet, and keeps them."""

    def __init__(self, file: Path, first_seed: int, device: str = "cpu") -> None:
        # float32 wherever it runs, so that places differ by rounding alone
        self.model = load_diffusion_model("tiny-sdxl", dtype=torch.float32, device=device)
        self.reward = load_reward("tiny-imagereward", dtype=torch.float32, device=device)
        rng = np.random.default_rng(first_seed)
        self.scenes = [random_scene(rng, from_held_out=True) for _ in range(MOST)]
        self.captions = [caption(scene, rng) for scene in self.scenes]
        self.file, self.first = file, first_seed
        file.parent.mkdir(parents=True, exist_ok=True)
        self.known = {(m.method, m.pictures, m.prompt, m.seed): m for m in read_file(file)}

    def measure(self, name: str, settings: dict[str, Any], eta: float, pictures: int, prompt: int, seed: int) -> None:
        """Search one prompt for the cost of so many pictures."""
        if (name, pictures, prompt, seed) in self.known:
            return
        keep = pictures if settings["method"] == "best_of_n" else 4
        found = search(
            self.model,
            self.captions[prompt].text,
            self.reward,
            SearchSettings(budget=pictures * STEPS, keep=keep, seed=self._seed(prompt, seed), **settings),
            sampling=SampleSettings(steps=STEPS, guidance_scale=GUIDANCE, eta=eta),
            options=SampleOptions(at_once=16),
        )
        row = self._measured(found, name, pictures, prompt, seed)
        self.known[name, pictures, prompt, seed] = row
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row._asdict()) + "\n")

    def _right(self, prompt: int, found: Reading) -> bool:
        """Whether all that the prompt says is in the picture, in a clean shape."""
        scene, said = self.scenes[prompt], self.captions[prompt].mentions
        return found.clean and all(getattr(found, name) == getattr(scene, name) for name in said)

    def _seed(self, prompt: int, seed: int) -> int:
        return self.first * 10_000_000 + seed * 1_000_000 + prompt * 1_000

    def _measured(self, found: Found, name: str, pictures: int, prompt: int, seed: int) -> Measured:
        readings = [self._right(prompt, read(image.numpy())) for image in found.images]
        cost = [found.cost.evaluations, found.cost.decodes, found.cost.scorings, found.cost.seconds]
        return Measured(name, pictures, prompt, seed, found.scores.tolist(), readings, apart(found.images), cost)


def read_file(file: Path) -> list[Measured]:
    """Return the searches of a file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Measured(**json.loads(line)) for line in lines]


def apart(images: torch.Tensor) -> float:
    """Mean distance (root mean square of the pixels' differences) of the first four pictures, two by two."""
    flat = images[:4].flatten(1).double()
    return float(torch.pdist(flat).mean() / math.sqrt(flat.shape[1])) if len(flat) > 1 else math.nan


class Point(NamedTuple):
    """One method at one cost: a value for each prompt and seed."""

    evaluations: float
    reward: list[float]
    right: list[float]
    apart: list[float]
    prompts: list[int]
    cost: list[float]


def best_of_points(pools: list[Measured]) -> Iterator[tuple[int, Point]]:
    """Yield best-of-N for N = 1, 2, 4 ... over all subsets of the pools, the checker's reading of the best too."""
    for count in (n for n in (1, 2, 4, 8, 16, 32) if n <= min(p.pictures for p in pools)):
        ways = math.comb(POOL, count)
        shares = [math.comb(i, count - 1) / ways for i in range(POOL)]
        rewards, rights = [], []
        for pool in pools:
            order = sorted(range(POOL), key=lambda i: pool.scores[i])  # noqa: B023
            rewards.append(sum(w * pool.scores[i] for w, i in zip(shares, order, strict=True)))
            rights.append(sum(w * pool.right[i] for w, i in zip(shares, order, strict=True)))
        seconds = sum(p.cost[3] for p in pools) / len(pools) * count / POOL
        whole = [p.apart if count == POOL else math.nan for p in pools]
        cost = [count * STEPS, count, count, seconds]
        yield count, Point(count * STEPS, rewards, rights, whole, [p.prompt for p in pools], cost)


def points(rows: list[Measured]) -> dict[str, list[Point]]:
    """Return each method's points, by cost."""
    found: dict[str, list[Point]] = {"best_of_n": [point for _, point in best_of_points(_of(rows, "best_of_n"))]}
    groups: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    for row in rows:
        if row.method != "best_of_n":
            groups[row.method, row.pictures].append(row)
    for (method, _), group in sorted(groups.items()):
        cost = [sum(r.cost[i] for r in group) / len(group) for i in range(4)]
        best = [max(r.scores) for r in group]
        reading = [float(r.right[r.scores.index(max(r.scores))]) for r in group]
        where = [r.prompt for r in group]
        found.setdefault(method, []).append(Point(cost[0], best, reading, [r.apart for r in group], where, cost))
    return found


def _of(rows: list[Measured], method: str) -> list[Measured]:
    return [row for row in rows if row.method == method]


def figure(values: list[float], prompts: list[int]) -> tuple[float, float]:
    """Return a mean and its 95% reach over prompts and seeds."""
    column = torch.tensor(values, dtype=torch.float64)
    return float(column.mean()), mean_reach(column, prompts)


def table(found: dict[str, list[Point]]) -> str:
    """Return the table of all points."""
    lines = [
        "| method | cost in pictures | evaluations | decodes | scorings | seconds | reward | right | four best apart |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, row in found.items():
        for p in row:
            reward, reach = figure(p.reward, p.prompts)
            good, around = figure(p.right, p.prompts)
            spread = sum(p.apart) / len(p.apart)
            spread_text = "" if math.isnan(spread) else f"{spread:.3f}"
            lines.append(
                f"| {method} | {p.evaluations / STEPS:.3g} | {p.cost[0]:.0f} | {p.cost[1]:.0f} | {p.cost[2]:.0f} | "
                f"{p.cost[3]:.2f} | {reward:.3f} +- {reach:.3f} | {100 * good:.0f}% +- {100 * around:.0f} | "
                f"{spread_text} |"
            )
    return "\n".join(lines)


def against(found: dict[str, list[Point]]) -> str:
    """Return what each method is ahead of best-of-N of the same cost and of twice as much, prompt by prompt."""
    pools = {round(p.evaluations / STEPS): p for p in found["best_of_n"]}
    lines = ["| method | cost in pictures | ahead of best-of-N | of best-of-N for twice as much |", "|---|---|---|---|"]
    for method, row in found.items():
        for point in row if method != "best_of_n" else ():
            count = round(point.evaluations / STEPS)
            ahead = []
            for pool in (pools[count], pools[2 * count]):
                gaps = [a - b for a, b in zip(point.reward, pool.reward, strict=True)]
                mean, reach = figure(gaps, point.prompts)
                ahead.append(f"{mean:+.3f} +- {reach:.3f}")
            lines.append(f"| {method} | {count} | {' | '.join(ahead)} |")
    return "\n".join(lines)


def picture(found: dict[str, list[Point]]) -> None:
    """Draw reward against cost."""
    lines = []
    for method, row in found.items():
        ends = [figure(p.reward, p.prompts) for p in row]
        x = [round(p.evaluations / STEPS) for p in row]
        lines.append(Line(method, x, [mean for mean, _ in ends], [reach for _, reach in ends]))
    prompts = found["best_of_n"][0].prompts
    heading = f"Reward of the best picture: {len(set(prompts))} prompts, {len(prompts)} searches, 95% intervals"
    across = "cost of so many pictures, in network evaluations"
    draw_lines(lines, heading, across=across, up="tiny-imagereward", even=True).save(PICTURE, optimize=True)


def run(prompts: range, seeds: range, budgets: tuple[int, ...], device: str, part: str) -> None:
    """Measure everything, one prompt after the other, so that what there is of a run is whole."""
    bench = Bench(FILE.with_name(f"searches{part}.jsonl"), PROMPTS_SEED, device)
    for seed in seeds:
        for prompt in prompts:
            bench.measure("best_of_n", {"method": "best_of_n"}, 0.0, POOL, prompt, seed)
            for pictures in budgets:
                for method, (settings, eta) in METHODS.items():
                    bench.measure(method, {"method": method, **settings}, eta, pictures, prompt, seed)


def pilot(prompts: int) -> None:
    """Try settings on other prompts and seeds at the cost of 16 pictures, and print what came of them."""
    bench = Bench(FILE.with_name("pilot.jsonl"), PILOT_SEED)
    for name, (settings, eta) in PILOT.items():
        for prompt in range(prompts):
            bench.measure(name, settings, eta, 16, prompt, 0)
        rows = [m for m in bench.known.values() if m.method == name]
        best = torch.tensor([max(m.scores) for m in rows])
        reading = sum(m.right[m.scores.index(max(m.scores))] for m in rows)
        seconds = sum(m.cost[3] for m in rows) / len(rows)
        print(f"{name}: {best.mean():.3f}, {reading} of {len(rows)} right, {seconds:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--first", type=int, default=0, help="prompt to begin with")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", default="", help="of several runs at once: which file this one keeps its searches in")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="in pictures")
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--where", default="", help="what it was measured on, where that is not this machine")
    asked = parser.parse_args()
    if asked.pilot:
        pilot(asked.prompts)
    elif not asked.write:
        prompts, seeds = range(asked.first, asked.prompts), range(asked.first_seed, asked.seeds)
        run(prompts, seeds, tuple(asked.budgets), asked.device, asked.part)
    else:
        rows = [row for file in sorted(FILE.parent.glob("searches*.jsonl")) for row in read_file(file)]
        prompts = {row.prompt for row in rows if row.method == list(METHODS)[-1]}  # which were searched whole
        found = points([row for row in rows if row.prompt in prompts])
        picture(found)
        parts = (table(found), against(found), asked.where or machine())
        write_section("Search: reward against cost", "\n\n".join(parts))


if __name__ == "__main__":
    main()

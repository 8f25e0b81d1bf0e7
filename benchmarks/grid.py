"""What a grid costs: 5 x 5 cells of 4 seeds on tiny-sdxl, then the same with one column more, then again.

python -m benchmarks.grid [--threads 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from tastemaker.core.progress import Progress
from tastemaker.loaders import load_diffusion_model
from tastemaker.ranking.cache import ScoreCache
from tastemaker.rewards import load_reward
from tastemaker.sampling import SampleSettings
from tastemaker.search.grid.cells import CellCache
from tastemaker.search.grid.plan import GridSettings, make_plan
from tastemaker.search.grid.run import run_grid

from .common import machine, write_section

PROMPT = "a small yellow star at the top of a purple background"
FIVE, SIX = "1.5, 2, 3, 4.5, 7", "1.5, 2, 3, 4.5, 7, 10"
AXES = {
    "25 steps each": {"columns": "guidance_scale", "rows": "scheduler", "row_values": "ddim,euler,dpmpp_2m,unipc,pndm"},
    "4 to 36 steps": {"columns": "guidance_scale", "rows": "steps", "row_values": "4..36 by 8"},
}


class Counted(Progress):
    """Counts network evaluations, a picture each."""

    def __init__(self) -> None:
        self.evaluations, self._sampling = 0, False

    def phase(self, name: str, total: int) -> None:
        self._sampling = name == "sampling"

    def advance(self, count: int = 1) -> None:
        self.evaluations += count * self._sampling


def rows(title: str, axes: dict[str, str]) -> list[str]:
    """Run one grid, the same with a column more, and that again; return lines of a table."""
    model, reward, found = load_diffusion_model("tiny-sdxl"), load_reward("tiny-imagereward"), []
    with tempfile.TemporaryDirectory() as folder:
        for what, values in (("5 x 5 cells of 4", FIVE), ("one column more", SIX), ("again", SIX)):
            plan = make_plan(GridSettings(column_values=values, seeds=4, **axes), SampleSettings(), [PROMPT], ["m"])
            counted, began, spent = Counted(), time.perf_counter(), time.process_time()
            with ScoreCache(Path(folder) / "scores.sqlite") as scores:
                cells = CellCache(Path(folder) / "cells")
                grid = run_grid(plan, [model], reward, cells=cells, scores=scores, progress=counted)
            wall, processors = time.perf_counter() - began, time.process_time() - spent
            made = f"{grid.sampled} of {len(plan.shots)} | {counted.evaluations:,}"
            found.append(f"| {title}: {what} | {made} | {wall:.1f} | {processors:.1f} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    lines = [line for title, axes in AXES.items() for line in rows(title, axes)]
    write_section(
        "Grid",
        f"""
{machine()} tiny-sdxl, guidance 1.5 to 7 across (10 in the column more), 4 seeds, scored by tiny-imagereward.
Evaluations are of the network, a picture each, two with guidance counted as one.

| grid | pictures made | evaluations | seconds (wanted for the first: under 90) | seconds of processors |
|---|---|---|---|---|
{chr(10).join(lines)}
""",
    )


if __name__ == "__main__":
    main()

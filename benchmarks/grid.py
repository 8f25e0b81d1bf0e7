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
from tastemaker.search.grid.means import in_words
from tastemaker.search.grid.plan import GridSettings, make_plan
from tastemaker.search.grid.run import run_grid

PROMPT = "a small yellow star at the top of a purple background"
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    model, reward = load_diffusion_model("tiny-sdxl"), load_reward("tiny-imagereward")
    for title, axes in AXES.items():
        with tempfile.TemporaryDirectory() as folder:
            for values in ("1.5, 2, 3, 4.5, 7", "1.5, 2, 3, 4.5, 7, 10", "1.5, 2, 3, 4.5, 7, 10"):
                plan = make_plan(GridSettings(column_values=values, seeds=4, **axes), SampleSettings(), [PROMPT], ["m"])
                counted, began, spent = Counted(), time.perf_counter(), time.process_time()
                with ScoreCache(Path(folder) / "scores.sqlite") as scores:
                    grid = run_grid(
                        plan, [model], reward, cells=CellCache(Path(folder) / "cells"), scores=scores, progress=counted
                    )
                wall, processor = time.perf_counter() - began, time.process_time() - spent
                print(
                    f"{title}: {len(plan.shots)} pictures, {grid.sampled} sampled, {counted.evaluations} evaluations: "
                    f"{wall:.1f} s, {processor:.1f} s of processors"
                )
            print(in_words(plan, grid.means, grid.table.main))


if __name__ == "__main__":
    main()

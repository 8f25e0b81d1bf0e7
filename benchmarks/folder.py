"""Ten thousand small pictures from a folder, scored and scored again: `python -m benchmarks.folder [count]`.

Each measurement is a process of its own, so that peak memory is that of the work alone. Writes a table to
`benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tastemaker.images.folder import read_folder
from tastemaker.ranking.cache import ScoreCache
from tastemaker.ranking.scoring import score_pictures
from tastemaker.ranking.table import rank_table
from tastemaker.rewards import load_reward

from .common import machine, write_section

COUNT, SIDE = 10_000, 64
FEW = 1000  # to compare the peak with


def make_pictures(folder: Path, count: int) -> None:
    """PNGs of smooth noise, each with the ComfyUI graph it could have been made by."""
    generator = np.random.default_rng(0)
    for i in range(count):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        graph = {
            "1": {"class_type": "KSampler", "inputs": {"seed": i, "positive": ["2", 0], "latent_image": ["3", 0]}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a large red heart on a blue background"}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        }
        info = PngInfo()
        info.add_text("prompt", json.dumps(graph))
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(folder / f"picture_{i}.png", pnginfo=info, compress_level=1)


def measure(folder: Path, count: int, cache: Path) -> dict[str, Any]:
    """Seconds and peak memory of reading, scoring and ranking, in this process."""
    reward = load_reward("tiny-imagereward")
    reward(torch.rand(1, SIDE, SIDE, 3), "warm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worked = time.process_time()
    start = time.perf_counter()
    found = read_folder(folder, max_pictures=count)
    listed = time.perf_counter()
    with ScoreCache(cache) as opened:
        scored = score_pictures(found.pictures, found.prompts, reward, seeds=found.seeds, cache=opened)
    done = time.perf_counter()
    rank_table(scored.table, top_k=4, group_by="all")
    return {
        "pictures": len(scored.table),
        "remembered": scored.remembered,
        "reading": listed - start,
        "scoring": done - listed,
        "ranking": time.perf_counter() - done,
        "processor": time.process_time() - worked,
        "peak MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def _in_a_process(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.folder", "--one", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        folder, count, cache = sys.argv[2:]
        print(json.dumps(measure(Path(folder), int(count), Path(cache))))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "pictures"
        folder.mkdir()
        make_pictures(folder, count)
        time.sleep(3)  # a file that was changed a moment ago is not trusted to stay
        few = _in_a_process(folder, min(FEW, count), Path(base) / "few.sqlite")
        first = _in_a_process(folder, count, Path(base) / "scores.sqlite")
        second = _in_a_process(folder, count, Path(base) / "scores.sqlite")
        size = (Path(base) / "scores.sqlite").stat().st_size / 2**20
    worked = second["processor"]
    total = second["reading"] + second["scoring"] + second["ranking"]
    write_section(
        "A folder of pictures",
        f"""
{machine()} {count:,} PNGs of {SIDE} x {SIDE} pixels with a ComfyUI graph in each, tiny-imagereward, float32; one run
each, in a process of its own, the files in the system's cache.

| what | |
|---|---|
| reading the folder and its prompts, s | {first["reading"]:.2f} |
| scoring, pictures/s | {count / first["scoring"]:.0f} |
| reading, scoring and ranking, processor time, s | {first["processor"]:.1f} |
| ranking, s | {first["ranking"]:.2f} |
| memory added at the peak, {few["pictures"]:,} pictures, MB | {few["peak MB"]:.0f} |
| memory added at the peak, {first["pictures"]:,} pictures, MB | {first["peak MB"]:.0f} |
| the second run: reading, scoring and ranking, s (wanted: under 5) | {total:.2f} |
| the second run, processor time, s | {worked:.2f} |
| scores of the second run from the cache | {second["remembered"]:,} of {second["pictures"]:,} |
| the cache's file, MB | {size:.1f} |
""",
    )


if __name__ == "__main__":
    main()

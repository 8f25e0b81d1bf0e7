"""Ranking past one machine: flat memory, what two processes give, and nothing lost in ten kills.

    python -m benchmarks.scale [--pictures 100000] [--reward jpeg-compressibility]

The pictures are small PNGs in shards of a thousand, made in a temporary folder. Writes to `benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from .common import machine, write_section

SHARD, SIDE, KILLS = 1000, 64, 10


def write_shards(folder: Path, count: int) -> None:
    """Blocks of random colours, with a caption each."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for first in range(0, count, SHARD):
        with tarfile.open(folder / f"{first // SHARD:05d}.tar", "w") as shard:
            for i in range(first, min(first + SHARD, count)):
                file, cells = io.BytesIO(), int(rng.choice([2, 4, 8, 16]))
                blocks = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
                blocks.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(file, "PNG", compress_level=1)
                for name, data in ((f"{i:09d}.png", file.getvalue()), (f"{i:09d}.txt", b"a red circle")):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))


def plan(folder: Path, name: str, pictures: str, reward: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"pictures": pictures, "rewards": [reward], "output": name, "top_k": 20}))
    return path


def run(path: Path, processes: int = 1) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in MB, of a whole run."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "tastemaker.ranking", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{path.name} ended with {process.returncode}")
    return time.perf_counter() - start, used.ru_maxrss / 2**10


def killed(path: Path, output: Path, units: int) -> int:
    """Kill a run at ten random moments, then let it end; returns the kills that hit."""
    rng, hits = random.Random(0), 0
    moments = sorted(rng.random() * units for _ in range(KILLS))
    for moment in moments:
        with subprocess.Popen(
            [sys.executable, "-m", "tastemaker.ranking", str(path)],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and len(list(output.glob("parts/*/*.jsonl"))) < moment:
                time.sleep(0.02)
            time.sleep(rng.random() * 0.3)
            hits += process.poll() is None
            process.send_signal(signal.SIGKILL)
    run(path)
    return hits


def same_scores(one: Path, other: Path) -> bool:
    def rows(path: Path) -> list[list[str]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))

    return rows(one) == rows(other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--reward", default="jpeg-compressibility")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_shards(folder / "few", told.pictures // 10)
        write_shards(folder / "all", told.pictures)
        few = run(plan(folder, "tenth", "few", told.reward))
        alone = run(plan(folder, "alone", "all", told.reward))
        two = run(plan(folder, "two", "all", told.reward), processes=2)
        hits = killed(plan(folder, "killed", "all", told.reward), folder / "killed", told.pictures // SHARD)
        equal = [same_scores(folder / "alone" / "scores.csv", folder / n / "scores.csv") for n in ("two", "killed")]
        size = (folder / "alone" / "scores.csv").stat().st_size / told.pictures
    write_section(
        "Ranking past one machine",
        f"""
{machine()} {told.pictures:,} PNGs of {SIDE} px in shards of {SHARD:,}, {told.reward}; start and
lists included, a thread each.

| what | |
|---|---|
| one process, pictures/s | {told.pictures / alone[0]:.0f} |
| two processes of torchrun, pictures/s | {told.pictures / two[0]:.0f} |
| peak memory, {told.pictures // 10:,} pictures, MB | {few[1]:.0f} |
| peak memory, {told.pictures:,} pictures, MB | {alone[1]:.0f} |
| the list of all scores, bytes a picture | {size:.0f} |
| kills at random moments | {hits} |
| scores after the kills equal those of the whole run, every row in its place | {equal[1]} |
| scores of two processes equal those of one, likewise | {equal[0]} |
""",
    )


if __name__ == "__main__":
    main()

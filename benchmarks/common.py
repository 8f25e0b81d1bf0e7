"""What the benchmarks share: timing in turn, naming the machine, writing results."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import diffusers
import torch
import transformers

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEADER = "# Results\n\nEach table is written by the script beside this file that measured it.\n"


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call, the device's work included."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def medians(works: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median seconds of each, warm, taken in turn, since the machine may be busy."""
    for work in works.values():
        work()
    rows: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            rows[name].append(timed(work))
    return {name: statistics.median(times) for name, times in rows.items()}


def machine() -> str:
    """One line: processor or GPU, threads, versions, load."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{_cpu_name()}, {os.cpu_count()} cores"
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}"
    load = f"load average at the end {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return f"{device}; {torch.get_num_threads()} threads; {versions}; {load}."


def _cpu_name() -> str:
    try:
        names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def write_section(title: str, body: str) -> None:
    """Put a dated section into RESULTS.md in place of the last one of that title, and print it."""
    text = f"\n## {title}, {datetime.date.today().isoformat()}\n\n{body.strip()}\n"
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else _HEADER
    kept = re.sub(rf"\n## {re.escape(title)}, .*?(?=\n## |\Z)", "", before, flags=re.DOTALL)
    RESULTS.write_text(kept.rstrip("\n") + "\n" + text, encoding="utf-8")
    print(text)

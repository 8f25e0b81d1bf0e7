"""Rows as they are measured, the clock that ends them, and how things are timed."""

from __future__ import annotations

import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if GPU else torch.device("cpu")
HALF = torch.float16 if GPU else torch.float32


class Rows:
    """Write rows to `gpu.jsonl` in a folder, each at once; begin no new part after the deadline.

    `quick` asks sections for what is most wanted of them only.
    """

    def __init__(self, out: Path, seconds: float, *, quick: bool = False) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.quick = quick
        self.out, self._began, self._seconds = out, time.monotonic(), seconds

    def row(self, what: str, **figures: Any) -> None:
        """Write one row; numbers to four digits."""
        at = round(time.monotonic() - self._began, 1)
        line = json.dumps({"what": what, **{key: _short(value) for key, value in figures.items()}, "at": at})
        print(line, flush=True)
        with (self.out / "gpu.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()

    @property
    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self._began + self._seconds - time.monotonic()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Hold one measurement: its error is a row, and the next part goes on."""
        try:
            yield
        except Exception as e:  # what fails on a GPU is a result
            last = traceback.extract_tb(e.__traceback__)[-4:]
            where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(last))
            self.row("FAILED", part=name, error=f"{type(e).__name__}: {str(e)[:500]}", where=where)
            del e
            if GPU:
                torch.cuda.empty_cache()

    def room(self, name: str, seconds: float = 0.0) -> bool:
        """Return whether a part of about so many seconds still ends before the deadline; say so where not."""
        if self.left < seconds or self.left <= 0:
            self.row("left out", part=name, seconds_left=self.left)
            return False
        return True


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return value


def wait() -> None:
    """Wait for the device."""
    if GPU:
        torch.cuda.synchronize()


def once(work: Callable[[], Any]) -> float:
    """Return the seconds of one call, the device's work included."""
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def timed(work: Callable[[], Any], runs: int = 3, warm: int = 1) -> dict[str, float]:
    """Return median, least and most seconds of `runs`, the first call's, and the peak memory in GB."""
    first = [once(work) for _ in range(warm)]
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    found = [once(work) for _ in range(runs)]
    figures = {"s": statistics.median(found), "least": min(found), "most": max(found)}
    if first:
        figures["first"] = first[0]
    return figures | {"peak_gb": peak()}


def peak() -> float:
    """Return the most memory taken since it was last reset, in GB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if GPU else 0.0

"""Batches made ready in threads, each while the one before it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Out = TypeVar("_Out")
READERS = max(4, min(32, os.cpu_count() or 1))  # threads: Pillow and zlib work outside Python's lock


def prefetched(
    work: Callable[[int], _Out], batches: Sequence[Sequence[int]]
) -> Generator[tuple[Sequence[int], list[_Out]], None, None]:
    """Yield each batch of indices with what `work` made of them, in order. What it raises is raised.

    At most two batches are in memory. Closing the iterator (`contextlib.closing`) stops the threads.
    """
    with ThreadPoolExecutor(READERS, "tastemaker-read") as readers:

        def ask(number: int) -> list[Future[_Out]]:
            return [readers.submit(work, i) for i in batches[number]] if number < len(batches) else []

        waiting = ask(0)
        try:
            for number, batch in enumerate(batches):
                ready, waiting = [future.result() for future in waiting], []
                waiting = ask(number + 1)
                yield batch, ready
        finally:
            for future in waiting:
                future.cancel()

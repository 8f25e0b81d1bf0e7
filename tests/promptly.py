"""A limit on work that says nothing of how busy the machine is."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANG = 120  # seconds after which a block that waits for something is ended


@contextmanager
def promptly(seconds: float = 1.0) -> Iterator[None]:
    """Fail where a block takes more than so many processor seconds of this thread, or waits without end."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"It still waits after {HANG} seconds.")

    alarm = getattr(signal, "SIGALRM", None)  # Windows has none
    before = signal.signal(alarm, hang) if alarm is not None else None
    if alarm is not None:
        signal.alarm(HANG)
    began = time.thread_time()
    try:
        yield
        took = time.thread_time() - began
    finally:
        if alarm is not None:
            signal.alarm(0)
            signal.signal(alarm, before)
    assert took < seconds, f"It took {took:.1f} processor seconds; {seconds:g} were allowed."

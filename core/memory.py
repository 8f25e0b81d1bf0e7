"""Fitting a batch into memory: a first guess from what is free, and halving when it was wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .errors import OutOfMemoryError
from .free_memory import free_bytes

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_SHARE = 0.7  # of the free memory that a first guess may fill


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a device or the CPU running out of memory; the CPU's is a RuntimeError."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


def fitting(each: int, count: int, device: torch.device) -> int:
    """How many of `count` rows of `each` bytes to take at once: as many as should fit, at least one."""
    free = free_bytes(device)
    if free is None or each <= 0:
        return count
    return max(1, min(count, int(free * _SHARE) // each))


def in_parts(
    count: int,
    size: int,
    work: Callable[[slice], torch.Tensor],
    *,
    what: str,
    each: str,
    largest: int | None = None,
) -> Iterator[torch.Tensor]:
    """Run `work` over slices of `size` of `count` rows; out of memory halves the size and goes on.

    `what` and `each` word the log line and the error: "sampling", "one picture of 1024 x 1024". With
    `largest`, the size doubles after each slice that fits, up to that, until memory has run out once.
    Raises OutOfMemoryError when one row alone does not fit.
    """
    import torch

    first, ran_out = 0, False
    while first < count:
        rows = slice(first, min(first + size, count))
        try:
            done = work(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            taken = rows.stop - rows.start
            if taken == 1:
                raise OutOfMemoryError(f"Out of memory in {what}: {each} does not fit. Make it smaller.") from None
            size, ran_out = taken // 2, True
        else:
            yield done
            first = rows.stop
            if largest is not None and not ran_out:
                size = max(size, min(2 * size, largest))
            continue
        # outside the except block: there the traceback would keep the failed tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("Out of memory in %s with %d at once: going on with %d.", what, taken, size)

"""Memory: how much is free, how much work to take at once, and halving it when that was too much.

Free is what a GPU's driver says, and of the system what can be had without swapping: cached files count as free. A
container's limit counts too: the system it runs on may have far more than it is allowed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutOfMemoryError

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger(__name__)

_SHARE = 0.7  # of the free memory that a first guess may fill
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
# limit, usage and the cached files that the system can drop, in the two generations of Linux's groups
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory where a network runs, or None where it cannot be asked."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    if device.type != "cpu":
        return None
    import psutil

    return min([int(psutil.virtual_memory().available), *_group_free()])


def _group_free() -> Iterator[int]:
    """Yield what each control group that this process is in, and that has a limit, leaves it."""
    for folder in _group_folders():
        for limit, usage, cached in _FILES:
            try:
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such file, or a limit that reads "max"
                continue
            yield max(0, left + int(stat.get(cached, 0)))


def _group_folders() -> Iterator[Path]:
    """Yield the folders of this process's memory groups, from its own up to the root."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = _CGROUPS / kinds
        own = root / place.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder == root or root in folder.parents)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is a device or the CPU running out of memory; the CPU's is a RuntimeError."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


def fitting(each: int, count: int, device: torch.device, most: int | None = None) -> int:
    """Return how many of `count` rows of `each` bytes to take at once: as many as should fit, at least one.

    On a GPU never more than `most`: what keeps it busy. More would only make a cancel wait.
    """
    if most is not None and device.type == "cuda":
        count = min(count, most)
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


@contextmanager
def placed(modules: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Move modules that are not on a device there, for the length of the block.

    ComfyUI leaves some elsewhere under `--novram`, where it loads its own layers only: they would run on the CPU, in a
    format that is slow there.
    """
    moved = []
    for module in modules:
        where = next((p.device for p in module.parameters()), device)
        if where.type != device.type:
            moved.append((module, where))
    try:
        for module, _ in moved:
            module.to(device)
        yield
    finally:
        for module, where in moved:
            module.to(where)

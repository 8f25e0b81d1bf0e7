"""How much memory is free: of a GPU as its driver says, of the system without what only caches files.

A container's limit counts too: the system it runs on may have far more than it is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
# limit, usage and the cached files that the system can drop, in the two generations of Linux's groups
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_bytes(device: torch.device) -> int | None:
    """Free memory where a network runs, or None where it cannot be asked."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    if device.type != "cpu":
        return None
    known = [free for free in (_system_free(), *_group_free()) if free is not None]
    return min(known, default=None)


def _system_free() -> int | None:
    """Memory that can be had without swapping. ComfyUI brings psutil; Linux says it itself too."""
    try:
        import psutil

        return int(psutil.virtual_memory().available)
    except ImportError:
        pass
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, LookupError, ValueError):
        pass
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _group_free() -> Iterator[int]:
    """What each control group that this process is in, and that has a limit, leaves it."""
    for folder in _group_folders():
        for limit, usage, cached in _FILES:
            try:
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such file, or a limit that reads "max"
                continue
            yield max(0, left + int(stat.get(cached, 0)))


def _group_folders() -> Iterator[Path]:
    """The folders of this process's memory groups, from its own up to the root."""
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

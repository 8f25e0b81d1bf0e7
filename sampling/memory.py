"""Fitting a batch into memory: estimates, and halving when they were wrong."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import torch

from ..loaders.errors import OutOfMemoryError
from ..loaders.model import DiffusionModel

log = logging.getLogger(__name__)

_SHARE = 0.7  # of the free memory that a first guess may fill
# Live activations at the widest place, in tensors of that place's size.
_UNET_TENSORS, _VAE_TENSORS = 6, 8


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a device or the CPU running out of memory; the CPU's is a RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


def free_bytes(device: torch.device) -> int | None:
    """Free memory where the network runs, or None where it cannot be asked."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def unet_bytes(model: DiffusionModel, height: int, width: int, rows: int) -> int:
    """Rough working memory of one UNet call on `rows` rows, weights not counted."""
    area = (height // model.downscale) * (width // model.downscale)
    return rows * area * max(model.unet.config.block_out_channels) * _UNET_TENSORS * model.dtype.itemsize


def vae_bytes(model: DiffusionModel, height: int, width: int, rows: int) -> int:
    """Rough working memory of decoding `rows` pictures, weights not counted."""
    if model.vae is None:
        return 0
    widest = 2 * model.vae.config.block_out_channels[0]
    return rows * height * width * widest * _VAE_TENSORS * model.vae.dtype.itemsize


def fitting(each: int, count: int, device: torch.device) -> int:
    """How many of `count` rows of `each` bytes to take at once: as many as should fit, at least one."""
    free = free_bytes(device)
    if free is None or each <= 0:
        return count
    return max(1, min(count, int(free * _SHARE) // each))


def in_parts(
    count: int, size: int, work: Callable[[slice], torch.Tensor], *, what: str, each: str
) -> Iterator[torch.Tensor]:
    """Run `work` over slices of `size` of `count` rows; out of memory halves the size and goes on.

    `what` and `each` word the log line and the error: "sampling", "one picture of 1024 x 1024".
    Raises OutOfMemoryError when one row alone does not fit.
    """
    first = 0
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
            size = taken // 2
        else:
            yield done
            first = rows.stop
            continue
        # outside the except block: there the traceback would keep the failed tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("Out of memory in %s with %d at once: going on with %d.", what, taken, size)

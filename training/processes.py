"""Several processes that train one model together: each samples its share, gradients are summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class SingleProcess:
    """The only process; also the interface of `Distributed`."""

    rank, world_size = 0, 1

    def my_slice(self, count: int) -> slice:
        """Return this process's part of `count` rows; count is a multiple of `world_size`."""
        each = count // self.world_size
        return slice(self.rank * each, (self.rank + 1) * each)

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes, in the order of `my_slice`. Shape: (B / world_size,) to (B,)."""
        return rows

    def all_reduce_sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor with its sum over the processes, in place."""

    def all_reduce_max(self, value: float) -> float:
        """Return the largest of all processes' values."""
        return value

    def broadcast(self, value: int) -> int:
        """Return the first process's value, on each."""
        return value

    def barrier(self) -> None:
        """Wait for all processes."""


class Distributed(SingleProcess):
    """A process of a torch.distributed group that has been set up.

    Args:
        backend: torch.distributed, or what stands for it.
        device: where the backend takes tensors; None is wherever they are.
    """

    def __init__(self, backend: Any = None, device: torch.device | None = None) -> None:
        import torch.distributed

        self.backend = backend or torch.distributed
        self.rank, self.world_size = self.backend.get_rank(), self.backend.get_world_size()
        if device is None and self.backend.get_backend() == "nccl":  # which knows its GPU only
            device = torch.device("cuda", torch.cuda.current_device())
        self.device = device

    def sendable(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor where the backend takes it, contiguous."""
        return tensor.to(self.device or tensor.device).contiguous()

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        local = self.sendable(rows)
        found = [torch.empty_like(local) for _ in range(self.world_size)]
        self.backend.all_gather(found, local)
        return torch.cat(found).to(rows.device)

    def all_reduce_sum(self, tensors: Sequence[torch.Tensor]) -> None:
        joined = self.sendable(torch.cat([t.flatten() for t in tensors]))
        self.backend.all_reduce(joined)
        for t, summed in zip(tensors, joined.split([t.numel() for t in tensors]), strict=True):
            t.copy_(summed.view_as(t))

    def all_reduce_max(self, value: float) -> float:
        found = self.sendable(torch.tensor([value], dtype=torch.float64))
        self.backend.all_reduce(found, op=self.backend.ReduceOp.MAX)
        return float(found)

    def broadcast(self, value: int) -> int:
        found = self.sendable(torch.tensor([value]))
        self.backend.broadcast(found, src=0)
        return int(found)

    def barrier(self) -> None:
        self.backend.barrier()

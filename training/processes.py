"""Several processes that train one model together: each samples its share, gradients are added up."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Alone:
    """The only process; also the interface of `Together`."""

    rank, world = 0, 1

    def share(self, count: int) -> slice:
        """This process's part of `count` rows; count is a multiple of `world`."""
        each = count // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Everybody's rows, in the order of `share`. Shape (B / world,) to (B,)."""
        return rows

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor with its sum over the processes, in place."""

    def largest(self, value: float) -> float:
        """The largest of everybody's values."""
        return value

    def agree(self, value: int) -> int:
        """The first process's value, for all."""
        return value

    def wait(self) -> None:
        """Until everybody is here."""


class Together(Alone):
    """A process of a torch.distributed group that has been set up."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self._dist, self.rank, self.world = dist, dist.get_rank(), dist.get_world_size()
        self._device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else None

    def _sendable(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor where the backend takes it: nccl knows its GPU only."""
        return tensor.to(self._device or tensor.device).contiguous()

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        mine = self._sendable(rows)
        found = [torch.empty_like(mine) for _ in range(self.world)]
        self._dist.all_gather(found, mine)
        return torch.cat(found).to(rows.device)

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        together = self._sendable(torch.cat([t.flatten() for t in tensors]))
        self._dist.all_reduce(together)
        for t, summed in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
            t.copy_(summed.view_as(t))

    def largest(self, value: float) -> float:
        found = self._sendable(torch.tensor([value], dtype=torch.float64))
        self._dist.all_reduce(found, op=self._dist.ReduceOp.MAX)
        return float(found)

    def agree(self, value: int) -> int:
        found = self._sendable(torch.tensor([value]))
        self._dist.broadcast(found, src=0)
        return int(found)

    def wait(self) -> None:
        self._dist.barrier()

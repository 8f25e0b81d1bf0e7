"""Which part of a long job is this process's: of a launcher's processes, or of the jobs of an array."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from .errors import InputError

_LONGEST_WAIT = datetime.timedelta(days=7)  # a process may work for hours after another has finished


class Share:
    """Say which units of work are this process's, and how it waits for the others.

    Unit u of a job belongs to process u modulo `world`, so what is done does not depend on who asks first.

    Args:
        rank, world: this is process `rank` of `world`.
        wait: returns when every process has called it; None: there is nobody to wait for.
        gathers: whether rank 0 puts the results together; jobs that know nothing of each other leave that to a last
            call without shares.
    """

    def __init__(
        self, rank: int = 0, world: int = 1, wait: Callable[[], None] | None = None, *, gathers: bool = True
    ) -> None:
        if not 0 <= rank < world:
            raise InputError("share", f"{rank} of {world}", "Shares are counted from 0.")
        self.rank, self.world = rank, world
        self.wait = wait or (lambda: None)
        self.gathers = gathers and rank == 0

    def numbers(self, count: int) -> range:
        """Return the numbers of this process's units, of `count` in all."""
        return range(self.rank, count, self.world)


def this_share(text: str) -> tuple[Share, int]:
    """Return this process's share, and its number on this machine.

    `text` is a command line's "i/n", job i of n that know nothing of each other; empty is what torchrun or
    accelerate's launcher says, whose processes then meet by gloo, or the only process. Raises InputError.
    """
    import torch

    if text:
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not int(found[1]) < int(found[2]):
            raise InputError("share", text, "It is i/n, such as 0/8 to 7/8.")
        return Share(int(found[1]), int(found[2]), gathers=False), 0
    if not torch.distributed.is_torchelastic_launched():
        return Share(), 0
    dist = torch.distributed
    dist.init_process_group("gloo", timeout=_LONGEST_WAIT)
    return Share(dist.get_rank(), dist.get_world_size(), dist.barrier), dist.get_node_local_rank()


def leave() -> None:
    """Leave the processes that a launcher started, if they met. One that exits without may abort in gloo's threads."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

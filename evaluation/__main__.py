"""Evaluate from the command line.

    python -m tastemaker.evaluation plan.json
    accelerate launch --num_processes 8 -m tastemaker.evaluation plan.json
    python -m tastemaker.evaluation plan.json --share 3/8      (a job array; then once without --share)

The same command goes on where it stopped. `evaluation/plan.py` says what a plan holds.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import re
import sys
from pathlib import Path

import torch

from ..core.errors import TastemakerError
from ..core.progress import LoggedProgress
from .blocks import Share
from .plan import read_plan, run_plan

log = logging.getLogger(__name__)

_LONGEST_WAIT = datetime.timedelta(days=7)  # a process may sample for hours after another has finished


def main(arguments: list[str] | None = None) -> int:
    """Run a plan; return 0 when it went well, 2 when the plan or its files need fixing."""
    parser = argparse.ArgumentParser(prog="tastemaker.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path, help="a JSON file that says what to measure")
    parser.add_argument("--share", default="", help="i/n: the blocks of job i of n, counted from 0, and no report")
    parser.add_argument("--device", default="", help="cuda, cuda:1, cpu; empty is a GPU where there is one")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        share, local = _share(given.share)
        device = given.device or (f"cuda:{local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
        files = run_plan(read_plan(given.plan), share=share, device=device, progress=LoggedProgress(log))
    except TastemakerError as e:
        log.error("%s", e)
        return 2
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    for path in files:
        sys.stdout.write(f"{path}\n")
    return 0


def _share(text: str) -> tuple[Share, int]:
    """Return this process's share, and its number on this machine."""
    if text:
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not int(found[1]) < int(found[2]):
            raise SystemExit("--share is i/n, such as 0/8 to 7/8")
        return Share(int(found[1]), int(found[2]), gathers=False), 0
    if not torch.distributed.is_torchelastic_launched():
        return Share(), 0
    dist = torch.distributed
    dist.init_process_group("gloo", timeout=_LONGEST_WAIT)
    return Share(dist.get_rank(), dist.get_world_size(), dist.barrier), dist.get_node_local_rank()


if __name__ == "__main__":
    sys.exit(main())

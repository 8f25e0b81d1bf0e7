"""Evaluate from the command line.

    python -m tastemaker.evaluation plan.json
    accelerate launch --num_processes 8 -m tastemaker.evaluation plan.json
    python -m tastemaker.evaluation plan.json --share 3/8      (a job array; then once without --share)

The same command goes on where it stopped. `evaluation/plan.py` says what a plan holds.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from ..core.errors import TastemakerError
from ..core.progress import LoggedProgress
from ..core.shares import leave, this_share
from .plan import read_plan, run_plan

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run a plan; return 0 when it went well, 2 when the plan or its files need fixing."""
    parser = argparse.ArgumentParser(prog="tastemaker.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path, help="a JSON file that says what to measure")
    parser.add_argument("--share", default="", help="i/n: the blocks of job i of n, counted from 0, and no report")
    parser.add_argument("--device", default="", help="cuda, cuda:1, cpu; empty is a GPU where there is one")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        share, local = this_share(given.share)
        device = given.device or (f"cuda:{local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
        files = run_plan(read_plan(given.plan), share=share, device=device, progress=LoggedProgress(log))
    except TastemakerError as e:
        log.error("%s", e)
        return 2
    finally:
        leave()
    for path in files:
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the command lines that take a plan share: arguments, this process's share, errors in words."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import TastemakerError
from .progress import LoggedProgress, Progress
from .shares import Share, leave, this_share

Work = Callable[[Path, Share, str, Progress], Sequence[Path]]  # plan file, share, device, progress -> files to look at


def run_plan_file(work: Work, *, prog: str, about: str, unit: str, arguments: Sequence[str] | None = None) -> int:
    """Run a plan's file; print the files it made. Return 0 when it went well, 2 when the plan or its files need fixing.

    Args:
        prog, about: for --help.
        unit: what is shared out among jobs, such as "blocks".
        arguments: None takes the process's.
    """
    import torch

    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("plan", type=Path, help="a JSON file that says what to do")
    parser.add_argument("--share", default="", help=f"i/n: the {unit} of job i of n, counted from 0, and no results")
    parser.add_argument("--device", default="", help="cuda, cuda:1, cpu; empty is a GPU where there is one")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    log = logging.getLogger(prog)
    try:
        share, local = this_share(given.share)
        device = given.device or (f"cuda:{local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
        files = work(given.plan, share, device, LoggedProgress(log))
    except TastemakerError as e:
        log.error("%s", e)
        return 2
    finally:
        leave()
    for path in files:
        sys.stdout.write(f"{path}\n")
    return 0

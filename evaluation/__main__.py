"""Evaluate from the command line.

    python -m tastemaker.evaluation plan.json
    accelerate launch --num_processes 8 -m tastemaker.evaluation plan.json
    python -m tastemaker.evaluation plan.json --share 3/8      (a job array; then once without --share)

The same command goes on where it stopped. `evaluation/plan.py` says what a plan holds.
"""

from __future__ import annotations

import sys

from ..core.command import run_plan_file
from .plan import read_plan, run_plan


def main(arguments: list[str] | None = None) -> int:
    """Run a plan; return 0 when it went well, 2 when the plan or its files need fixing."""
    return run_plan_file(
        lambda path, share, device, progress: run_plan(read_plan(path), share=share, device=device, progress=progress),
        prog="tastemaker.evaluation",
        about=str(__doc__).splitlines()[0],
        unit="blocks",
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())

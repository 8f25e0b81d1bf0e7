"""Rank any number of pictures from the command line.

    python -m tastemaker.ranking plan.json
    torchrun --nproc-per-node 8 -m tastemaker.ranking plan.json
    python -m tastemaker.ranking plan.json --share 3/8      (a job array; then once without --share)

The same command goes on where it stopped. `ranking/scale/plan.py` says what a plan holds.
"""

from __future__ import annotations

import sys

from ..core.command import run_plan_file
from .scale.plan import read_plan
from .scale.run import rank_plan


def main(arguments: list[str] | None = None) -> int:
    """Run a plan; return 0 when it went well, 2 when the plan or its files need fixing."""
    return run_plan_file(
        lambda path, share, device, progress: rank_plan(read_plan(path), share=share, device=device, progress=progress),
        prog="tastemaker.ranking",
        about=str(__doc__).splitlines()[0],
        unit="units",
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())

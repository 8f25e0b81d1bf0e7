"""`python -m tests.fuzz --count 10000 --seed 1`: wrong values into every input of every node, in a real server."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from .run import fuzz_server, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="cases to run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case: to go on, or to repeat one")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder, fuzz_server(Path(folder)) as server:
        outcome = run(server, chosen.count, chosen.seed, chosen.first)
    logging.getLogger().info(outcome.told())
    sys.exit(bool(outcome.failures))


if __name__ == "__main__":
    main()

"""Everything `make test` checks: style, then the tests, the browser's too where there is one."""

from __future__ import annotations

import os
import subprocess
import sys

from . import chromium
from .comfy.locate import ROOT

MOST_WORKERS = 4
LOUD = """
======================================================================
  THE BROWSER TESTS WERE NOT RUN: no Chromium was found or could be
  installed. Install Chromium or Chrome, or set CHROMIUM to its path.
======================================================================
"""


def main() -> None:
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    for check in (["check"], ["format", "--check"]):
        if subprocess.run([sys.executable, "-m", "ruff", *check, "--quiet", "."], cwd=ROOT).returncode:
            sys.exit(f"[tastemaker] ruff {' '.join(check)} failed.")
    if subprocess.run([sys.executable, "-m", "scripts.check_types"], cwd=ROOT).returncode:
        sys.exit("[tastemaker] mypy failed.")
    browser = chromium.find_or_get()
    if browser is None and in_ci:
        sys.exit(LOUD)
    # a worker a core, each with the tests of whole files and a ComfyUI of its own; torch then gets one thread in each
    cores = os.cpu_count() or 1
    workers = min(cores, MOST_WORKERS)
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, cores // workers)), "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"CHROMIUM": browser} if browser else {}
    selected = [] if browser else ["-m", "not browser"]
    spread = ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"] if workers > 1 else []
    command = [sys.executable, "-m", "pytest", "tests", *spread, *selected, *sys.argv[1:]]
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if browser is None:
        print(LOUD, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()

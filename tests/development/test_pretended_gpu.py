"""`tests/devices`, in a process of its own: what it does to `torch.Tensor` cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT


def test_nothing_waits_on_a_pretended_gpu() -> None:
    """Once `torch.Tensor` had a `__getitem__` of its own, torch takes a number for a sequence for good."""
    command = [sys.executable, "-m", "pytest", "tests/devices", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PRETENDED_GPU": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout

"""What training makes, in the real host's hands."""

from __future__ import annotations

import json
import subprocess
import sys

from scripts.comfy.locate import find
from tests.conftest import ROOT


def test_the_host_takes_every_layer_that_is_trained() -> None:
    """SDXL's UNet has 70 transformer blocks of 8 attention projections and 2 layers of a feed-forward, in 11
    transformers with 2 projections each; outside of them 72 linear layers and convolutions.
    """
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    command = [sys.executable, "-m", "tests.training.host_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = {"attention": 70 * 8, "transformer": 70 * 10 + 11 * 2, "all": 70 * 10 + 11 * 2 + 72}
    assert {name: counts["layers"] for name, counts in found.items()} == expected
    assert {name: counts["taken"] for name, counts in found.items()} == expected

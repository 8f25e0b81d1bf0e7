"""`HostProgress` in a process of its own with the host's classes: messages, previews, cancel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.comfy.locate import find
from tests.conftest import ROOT

START = """
from scripts.comfy.inside import enter
enter()
import comfy.model_management as memory
import comfy.utils
from PIL import Image
from tastemaker.nodes.host.progress import HostProgress

sent = []
comfy.utils.set_progress_bar_global_hook(lambda done, total, shown, node_id=None: sent.append((done, total, shown)))
"""

BODIES = {
    "each unit is a message": """
progress = HostProgress()
progress.phase("sampling", 3)
for _ in range(3):
    progress.advance()
progress.phase("decoding", 0)
assert sent == [(0, 3, None), (1, 3, None), (2, 3, None), (3, 3, None), (0, 1, None)], sent
""",
    "what is taken back is shown": """
progress = HostProgress()
progress.phase("sampling", 8)
progress.advance(6)
progress.advance(-6)
assert [done for done, _, _ in sent] == [0, 6, 0], sent
""",
    "many cheap units are a few messages, the last one among them": """
progress = HostProgress(pause=60.0)
progress.phase("reading", 1000)
for _ in range(1000):
    progress.advance()
assert [done for done, _, _ in sent] == [0, 1000], sent
""",
    "previews are made now and then": """
made = []
progress = HostProgress()
progress.phase("sampling", 10)
for _ in range(10):
    progress.advance()
    progress.preview(lambda: made.append(1) or Image.new("RGB", (8, 8)))
assert len(made) == 1, made
kind, picture, side = next(shown for _, _, shown in sent if shown)
assert (kind, picture.size, side) == ("JPEG", (8, 8), 512)
""",
    "a cancel takes effect in every call": """
for call in (
    lambda p: p.phase("x", 1), lambda p: p.advance(), lambda p: p.preview(None), lambda p: p.check_cancelled()
):
    memory.interrupt_current_processing(True)
    try:
        call(HostProgress())
    except memory.InterruptProcessingException:
        continue
    raise AssertionError("went on")
""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_host_progress(body: str) -> None:
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    done = subprocess.run([sys.executable, "-c", START + body], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

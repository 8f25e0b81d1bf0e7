"""Sample, in a process of its own with the host's classes: what comes over wires, and previews."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.comfy.locate import find
from tests.conftest import ROOT

START = """
from dataclasses import replace
import torch
from scripts.comfy.inside import enter
enter()
from tastemaker.loaders import InputError, load_diffusion_model
from tastemaker.nodes import sample as node

MODEL = load_diffusion_model("tiny-ddpm")

def refused(name, **values):
    settings = {"scheduler": "ddim", "steps": 1, "guidance_scale": 1.0, "eta": 0.0, "height": 0, "width": 0}
    common = {"negative_prompt": "", "images_per_prompt": 1, "seed": 0, "denoise": 1.0, **settings}
    try:
        node.TastemakerSample.execute(**{"model": MODEL, **common, **values})
    except InputError as e:
        assert e.name == name, e
        return str(e)
    raise AssertionError(f"{values} was taken")
"""

BODIES = {
    # a list of 2**40 texts would end the server before its length is looked at
    "numbers over wires are checked first": """
for value in (0, -1, 257, 2**40, 2.0, True, "3", None):
    refused("images_per_prompt", images_per_prompt=value)
refused("images_per_prompt", prompts=node.PromptList(("a",) * 4000), images_per_prompt=2)
for value in (-1, 2**63, 1.5, True, None):
    refused("seed", seed=value)
""",
    "a latent's mask is kept to": """
model = load_diffusion_model("tiny-sdxl")
start, mask = torch.ones(1, 4, 16, 16), torch.zeros(1, 1, 64, 64)
mask[..., 32:] = 1
common = dict(images_per_prompt=1, seed=0, denoise=1.0, scheduler="ddim", steps=1, guidance_scale=1.0, eta=0.0)
made = node.TastemakerSample.execute(
    model, "", prompts="a red star", height=0, width=0, latent={"samples": start, "noise_mask": mask}, **common
).args[2]["samples"]
assert torch.allclose(made[..., :8], start[..., :8]) and not torch.allclose(made[..., 8:], start[..., 8:])
""",
    "pixels are their own preview": """
from tastemaker.sampling.preview import preview_picture
model = load_diffusion_model("tiny-ddpm")
x0 = torch.linspace(-1, 1, 256)[None, None, None].repeat(2, 3, 8, 1)
x0[:, 1:] = -1.0  # red
seen = preview_picture(model, x0)
assert seen.getpixel((255, 4))[0] > 200 and max(seen.getpixel((255, 4))[1:]) < 40, seen.getpixel((255, 4))
""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_node(body: str) -> None:
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    done = subprocess.run([sys.executable, "-c", START + body], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

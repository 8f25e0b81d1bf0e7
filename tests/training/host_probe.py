"""Run inside a process of its own: a trainer's LoRA on a full-size SDXL UNet against the host's own loader.

Prints one JSON object; `test_host.py` reads it. Everything is on the meta device.
"""

from __future__ import annotations

import json
import sys

from scripts.comfy.inside import enter
from scripts.full_size.random_sdxl import modules


def main() -> None:
    enter()
    import comfy.lora

    from tastemaker.loaders import lora_state
    from tastemaker.loaders.layout.native import unet_state
    from tastemaker.training.learner.adapter import LoraAdapter
    from tests.nodes.native_probe import host_unet

    unet = modules(["unet"])["unet"]
    names = comfy.lora.model_lora_keys_unet(host_unet(unet_state(unet)), {})
    answer = {}
    for targets in ("attention", "transformer", "all"):
        layers = LoraAdapter(unet, rank=4, alpha=2.0, targets=targets, generator=None).layers()
        taken = comfy.lora.load_lora(lora_state(layers), names)
        answer[targets] = {"layers": len(layers), "taken": len(taken)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()

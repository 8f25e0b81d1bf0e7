"""Run inside a process of its own: kinds of LoRA against ComfyUI's own loader. The argument is a folder to write in.

Prints one JSON object, case -> strength -> largest difference as a share of the weight's largest number, infinite where
ComfyUI does not read the case; `test_lora_kinds.py` reads it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from scripts.comfy.inside import enter


def host_weight(state: dict[str, torch.Tensor], weight: torch.Tensor, strength: float) -> torch.Tensor | None:
    """What ComfyUI makes of a weight, None when it does not read the state."""
    import comfy.lora

    patches = comfy.lora.load_lora(dict(state), {"lora_unet_conv_in": "conv_in.weight"})
    if "conv_in.weight" not in patches:
        return None
    patch = (strength, patches["conv_in.weight"], 1.0, None, None)
    return comfy.lora.calculate_weight([patch], weight.clone(), "conv_in.weight")


def trained(folder: Path) -> dict[str, dict[str, float]]:
    """LoRAs as Train LoRA of ComfyUI makes them, on a linear layer and a convolution: their own forward and ours."""
    from comfy.weight_adapter import adapter_maps

    from tests.loaders.test_lora_kinds import layer_of

    found = {}
    for algorithm, adapter in adapter_maps.items():
        for place, shape in {"linear": (16, 6), "conv": (16, 4, 3, 3)}.items():
            weight = torch.randn(shape)
            trains = adapter.create_train(weight, rank=2, alpha=1.0)
            for name, parameter in trains.named_parameters():
                if name != "alpha":
                    parameter.data = torch.randn_like(parameter) * 0.4
            state = {name: parameter.data for name, parameter in trains.named_parameters()}
            ours = layer_of(folder, state, "diffusion_model.input_blocks.0.0").applied(weight, 1.0)
            found[f"{algorithm}-{place}"] = {"1.0": float((ours - trains(weight)).abs().max() / weight.abs().max())}
    return found


@torch.no_grad()
def main() -> None:
    enter()
    from tests.loaders.test_lora_kinds import CASES, layer_of, state_of

    folder = Path(sys.argv[1])
    answer = {"trained": trained(folder)}
    for case, golden in CASES.items():
        weight, state = golden["before"], state_of(case)
        found: dict[str, Any] = {}
        for strength in (1.0, 0.6, -0.5):
            expected = host_weight({f"lora_unet_conv_in.{n}": t for n, t in state.items()}, weight, strength)
            ours = layer_of(folder, state).applied(weight, strength)
            size = weight.abs().max()
            found[str(strength)] = float("inf") if expected is None else float((ours - expected).abs().max() / size)
        answer[case] = found
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()

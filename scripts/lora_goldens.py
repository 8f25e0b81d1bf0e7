"""Write tests/goldens/lycoris.safetensors: small layers of every kind as LyCORIS itself saves and computes them.

By hand, where lycoris-lora is installed (`pip install lycoris-lora`): `python -m scripts.lora_goldens`. For each
case the file has the layer's weight (`<case>/before`), the tensors that LyCORIS saves (`<case>/state/<name>`) and the
weight that its forward pass computes with at multiplier 1 (`<case>/after`), read off from unit inputs. The forward
pass is what was trained; `get_merged_weight` of 4.1.3 scales LoHa and LoKr twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "goldens" / "lycoris.safetensors"
DORA = {"weight_decompose": True}
# kind -> what it is made with, for a linear layer (16, 6) and a convolution (16, 4, 3, 3)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoConModule", {}),
    "lora-rs": ("LoConModule", {"rs_lora": True}),
    "lora-dora-out": ("LoConModule", DORA),
    "lora-dora-in": ("LoConModule", DORA | {"wd_on_out": False}),
    "loha": ("LohaModule", {}),
    "loha-rs": ("LohaModule", {"rs_lora": True}),
    "loha-dora-out": ("LohaModule", DORA),
    "loha-dora-in": ("LohaModule", DORA | {"wd_on_out": False}),
    "lokr": ("LokrModule", {"lora_dim": 1}),
    "lokr-both": ("LokrModule", {"lora_dim": 1, "decompose_both": True}),
    "lokr-full": ("LokrModule", {"full_matrix": True}),
    "lokr-dora-out": ("LokrModule", DORA | {"lora_dim": 1}),
    "glora": ("GLoRAModule", {}),
    "ia3": ("IA3Module", {}),
    "ia3-in": ("IA3Module", {"train_on_input": True}),
    "oft": ("DiagOFTModule", {}),
    "oft-constraint": ("DiagOFTModule", {"constraint": 0.02}),
    "oft-rescaled": ("DiagOFTModule", {"rescaled": True}),
    "boft": ("ButterflyOFTModule", {}),
    "boft-rescaled": ("ButterflyOFTModule", {"rescaled": True, "constraint": 0.02}),
    "full": ("FullModule", {}),
}
# with a core of rank 3; LoKr decomposes only what is wider than that
TUCKER = {"lora": ("LoConModule", (4, 16)), "loha": ("LohaModule", (4, 16)), "lokr": ("LokrModule", (16, 64))}


def layers() -> dict[str, nn.Module]:
    return {"linear": nn.Linear(6, 16), "conv": nn.Conv2d(4, 16, 3)}


def randomize(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if name == "dora_scale":
            parameter.data *= 1 + 0.2 * torch.randn_like(parameter)
        elif name == "rescale":
            parameter.data += 0.2 * torch.randn_like(parameter)
        else:
            parameter.data = 0.4 * torch.randn_like(parameter)


@torch.no_grad()
def computed(forward: Any, layer: nn.Module) -> torch.Tensor:
    """Return the weight a linear map computes with, from its answers to unit inputs."""
    shape = layer.weight.shape
    units = torch.eye(shape[1:].numel()).reshape(-1, *shape[1:])
    zero = forward(torch.zeros_like(units[:1]))
    return (forward(units) - zero).flatten(1).T.reshape(shape).contiguous()


def golden(layer: nn.Module, cls: Any, **options: Any) -> dict[str, torch.Tensor]:
    module = cls("case", layer, 1.0, **({"lora_dim": 3, "alpha": 2.0} | options)).eval()
    randomize(module)
    before = {"before": layer.weight.detach().clone(), "bias": layer.bias.detach().clone()}
    if hasattr(module, "weight") and module.name == "full":  # a difference until it is applied
        state = {"diff": module.weight.detach().clone(), "diff_b": module.bias.detach().clone()}
        module.apply_to()
    else:
        module.apply_to()
        custom = module.custom_state_dict() if hasattr(module, "custom_state_dict") else None
        state = custom if custom is not None else module.state_dict()
    after = {"after": computed(module, layer if module.name != "full" else module)}
    return before | after | {f"state/{n}": t.detach().clone() for n, t in state.items()}


def norms(cls: Any) -> dict[str, dict[str, torch.Tensor]]:
    found = {}
    for name, layer in {"norm-layer": nn.LayerNorm(16), "norm-group": nn.GroupNorm(4, 16)}.items():
        module = cls(name, layer, 1.0).eval()
        randomize(layer)
        randomize(module)
        weight, bias = module.make_weight()
        state = {"w_norm": module.w_norm, "b_norm": module.b_norm}
        found[name] = {"before": layer.weight, "bias": layer.bias, "after": weight, "after_bias": bias}
        found[name] |= {f"state/{n}": t for n, t in state.items()}
    return found


def main() -> None:
    import lycoris.modules as kinds

    torch.manual_seed(0)
    cases = {}
    for name, (cls, options) in CASES.items():
        for place, layer in layers().items():
            cases[f"{name}-{place}"] = golden(layer, getattr(kinds, cls), **options)
    for name, (cls, channels) in TUCKER.items():
        cases[f"{name}-tucker-conv"] = golden(nn.Conv2d(*channels, 3), getattr(kinds, cls), use_tucker=True)
    cases |= norms(kinds.NormModule)
    tensors = {
        f"{case}/{n}": t.detach().contiguous().clone() for case, found in cases.items() for n, t in found.items()
    }
    GOLDEN.write_bytes(save(tensors, {"source": "lycoris-lora 4.1.3"}))


if __name__ == "__main__":
    main()

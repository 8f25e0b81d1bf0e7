"""What is trained: a LoRA beside a network that stays as it is, or a copy of the network.

Handles share modules, so the network itself is never changed: forward hooks add what the LoRA learned
for the length of a `with` block, and are gone after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ...core.errors import InputError
from ...loaders.lora.layers import LoraLayer

_ATTENTION = (".to_q", ".to_k", ".to_v", ".to_out.0")
_CHECKPOINTED = ("ResnetBlock2D", "BasicTransformerBlock", "Attention")


def target_paths(unet: nn.Module, targets: str) -> list[str]:
    """Return the paths of the layers a LoRA on `targets` changes: linear layers and convolutions.

    Raises InputError for a network that has none of them.
    """
    layers = [p for p, m in unet.named_modules() if isinstance(m, nn.Linear) or _plain_convolution(m)]
    if targets == "attention":
        layers = [p for p in layers if p.endswith(_ATTENTION)]
    elif targets == "transformer":
        layers = [p for p in layers if ".attentions." in f".{p}"]
    if not layers:
        raise InputError("targets", targets, "This network has no such layers. Pick all.")
    return layers


def _plain_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"


class LoraAdapter:
    """Hold a LoRA in training: float32 matrices for each target layer of one UNet.

    up starts as zeros, so that training starts from the model as it is; down is drawn as PEFT draws it.
    """

    def __init__(
        self, unet: nn.Module, *, rank: int, alpha: float, targets: str, generator: torch.Generator | None
    ) -> None:
        self.alpha, self.scale = alpha, alpha / rank
        self._on = True
        device = next(unet.parameters()).device
        self.down: dict[str, nn.Parameter] = {}
        self.up: dict[str, nn.Parameter] = {}
        for path in target_paths(unet, targets):
            shape = unet.get_submodule(path).weight.shape  # (out, in[, kH, kW])
            down = torch.empty(rank, *shape[1:], device="meta" if device.type == "meta" else "cpu")
            bound = 1 / math.sqrt(down[0].numel())  # kaiming_uniform_(a=sqrt(5))
            down.uniform_(-bound, bound, generator=generator)
            up = torch.zeros(shape[0], rank, *(1 for _ in shape[2:]))
            self.down[path] = nn.Parameter(down.to(device))
            self.up[path] = nn.Parameter(up.to(device))

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return every trained tensor by name, always in the same order."""
        named = {f"{path}.down": tensor for path, tensor in self.down.items()}
        return named | {f"{path}.up": tensor for path, tensor in self.up.items()}

    def layers(self) -> dict[tuple[str, str], LoraLayer]:
        """Return the LoRA as `loaders.lora` knows it; copies."""
        return {
            ("unet", path): LoraLayer(self.up[path].detach().clone(), down.detach().clone(), self.alpha)
            for path, down in self.down.items()
        }

    @contextmanager
    def attached(self, unet: nn.Module) -> Iterator[None]:
        """Run the UNet with this LoRA for the length of the block, with gradients to its matrices."""
        handles = []
        try:
            for path, down in self.down.items():
                module = unet.get_submodule(path)
                handles.append(module.register_forward_hook(partial(self._change, down, self.up[path])))
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Run the UNet as it is without this LoRA, for a block inside `attached`."""
        self._on = False
        try:
            yield
        finally:
            self._on = True

    def _change(
        self, down: nn.Parameter, up: nn.Parameter, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor:
        return changed(output, args[0], module, down, up, self.scale) if self._on else output


def changed(
    output: torch.Tensor, x: torch.Tensor, module: nn.Module, down: torch.Tensor, up: torch.Tensor, scale: float
) -> torch.Tensor:
    """Compute output + scale * up(down(x)) in the network's number format, in as few kernels as there can be."""
    down, up = down.to(x.dtype), up.to(x.dtype)
    if isinstance(module, nn.Conv2d):
        inside = F.conv2d(x, down, None, module.stride, module.padding, module.dilation)
        return torch.add(output, F.conv2d(inside, up), alpha=scale)
    inside = F.linear(x, down).flatten(0, -2)
    return torch.addmm(output.flatten(0, -2), inside, up.T, alpha=scale).view(output.shape)


@contextmanager
def trainable_through(unet: nn.Module) -> Iterator[None]:
    """Let gradients flow through the UNet for the length of the block, wherever it was loaded.

    Weights made inside torch.inference_mode() can never be part of a backward pass; copies stand in
    for them, and the very Parameters are back afterwards.
    """
    own: list[tuple[dict[str, Any], str, torch.Tensor]] = []
    try:
        for module in unet.modules():
            for store in (module._parameters, module._buffers):
                for name, tensor in list(store.items()):
                    if tensor is not None and tensor.is_inference():
                        own.append((store, name, tensor))
                        copied = tensor.clone()
                        store[name] = nn.Parameter(copied, False) if store is module._parameters else copied
        yield
    finally:
        for store, name, tensor in own:
            store[name] = tensor


@contextmanager
def gradient_checkpointing(unet: nn.Module, switch: str) -> Iterator[None]:
    """Keep no activations inside blocks, for the length of the `with` block; the backward pass computes them again.

    On every residual and transformer block, whatever diffusers' own switch covers in the version at
    hand. `switch` "off" does nothing. Networks here have no dropout while training, so no random state is kept.
    """
    blocks: list[nn.Module] = []
    try:
        if switch == "on":
            for block in checkpointed_blocks(unet):
                forward = block.forward
                block.__dict__["forward"] = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
                blocks.append(block)
        yield
    finally:
        for block in blocks:
            del block.__dict__["forward"]


def checkpointed_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks that `gradient_checkpointing` computes again, none inside another."""
    for child in module.children():
        if type(child).__name__ in _CHECKPOINTED:
            yield child
        else:
            yield from checkpointed_blocks(child)

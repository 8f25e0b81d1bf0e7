"""How much memory a run will take, known before it starts.

For learning, a twin of the network without weights is run once: on torch's meta device tensors have shapes and no
contents, so that counting what a backward pass would keep costs a fraction of a second, whatever the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from ...core.errors import OutOfMemoryError
from ...core.memory import free_bytes
from ...loaders.model import DiffusionModel
from ..algorithms.registry import KNOWN
from ..config import FineTuneConfig
from .adapter import LoraAdapter, checkpointed_blocks

_TOKENS = 77
_LEARNING_SHARE = 0.85  # of the free memory that learning may fill where it may choose
_FRAGMENTED = 1.15  # allocators hold more than is asked of them


class Activations(NamedTuple):
    """Count the bytes that one row of a batch keeps for the backward pass.

    Attributes:
        kept: with everything kept.
        checkpointed: with gradient checkpointing: what lies between the blocks, and the largest block's insides.
    """

    kept: int
    checkpointed: int


class _Kept(torch.autograd.Function):
    """Do attention as every fused kernel does it: its backward keeps query, key, value and result."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:  # the twin is never run backwards
        raise NotImplementedError


class _FusedAttention(TorchFunctionMode):
    """Take the fused form on the meta device too; torch's own choice there keeps a matrix of all pairs of pixels."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Kept.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _Counter:
    """Count distinct tensors kept for a backward pass, by the block at work."""

    def __init__(self, weights: set[int]) -> None:
        self._seen = weights
        self._held: list[Any] = []
        self.block, self.outside = "", 0
        self.inside: dict[str, int] = {}
        self.inputs: dict[str, int] = {}

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage, key = tensor.untyped_storage(), storage_key(tensor)
        if key not in self._seen:
            self._seen.add(key)
            self._held.append((tensor, storage))  # alive, so that no other takes its place
            if self.block:
                self.inside[self.block] = self.inside.get(self.block, 0) + storage.nbytes()
            else:
                self.outside += storage.nbytes()
        return tensor

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)]
        self.block, self.inputs[name] = name, max((t.untyped_storage().nbytes() for t in given), default=0)

    def leave(self) -> None:
        self.block = ""


def _twin(model: DiffusionModel, config: FineTuneConfig) -> tuple[nn.Module, LoraAdapter | None]:
    """Return the UNet on the meta device, with what is trained."""
    with torch.device("meta"):
        unet = type(model.unet).from_config(model.unet.config).eval()
    nn.Module.to(unet, model.dtype)  # diffusers' own `to` warns of what does not matter here
    if config.train == "full":
        return nn.Module.float(unet).requires_grad_(True), None
    unet.requires_grad_(False)
    adapter = LoraAdapter(unet, rank=config.rank, alpha=1.0, targets=config.targets, generator=None)
    return unet, adapter


def _inputs(model: DiffusionModel, unet: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Return one row of everything the UNet takes, on the meta device."""
    height, width = (n // model.downscale for n in size)
    dtype = next(unet.parameters()).dtype
    made = {"sample": (1, model.channels, height, width)}
    inputs: dict[str, Any] = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in made.items()}
    inputs["timestep"] = torch.zeros(1, device="meta")
    if model.conditional:
        config = unet.config
        pooled = int(model.modules["text_encoder_2"].config.projection_dim)
        ids = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
        context = torch.empty(1, _TOKENS, config.cross_attention_dim, dtype=dtype, device="meta")
        added = {"text_embeds": (1, pooled), "time_ids": (1, ids)}
        inputs["encoder_hidden_states"] = context
        inputs["added_cond_kwargs"] = {k: torch.empty(s, dtype=dtype, device="meta") for k, s in added.items()}
    return inputs


def activation_bytes(model: DiffusionModel, config: FineTuneConfig, size: tuple[int, int]) -> Activations:
    """Count what one row keeps for the backward pass, in bytes. `size` is (height, width) in pixels."""
    return _activations(model, *_twin(model, config), size)


def _activations(
    model: DiffusionModel, unet: nn.Module, adapter: LoraAdapter | None, size: tuple[int, int]
) -> Activations:
    weights = {storage_key(t) for t in (*unet.parameters(), *unet.buffers(), *_trained(unet, adapter))}
    counter = _Counter(weights)
    for i, block in enumerate(checkpointed_blocks(unet)):
        name = str(i)
        block.register_forward_pre_hook(lambda m, a, k, name=name: counter.enter(name, a, k), with_kwargs=True)
        block.register_forward_hook(lambda *_: counter.leave())
    attached = adapter.attached(unet) if adapter is not None else torch.enable_grad()
    hooks = torch.autograd.graph.saved_tensors_hooks(counter.keep, lambda tensor: tensor)
    with torch.enable_grad(), attached, hooks, _FusedAttention():
        unet(**_inputs(model, unet, size))
    inside = counter.inside.values()
    between = counter.outside + sum(counter.inputs.values())
    return Activations(counter.outside + sum(inside), between + max(inside, default=0))


def saved_bytes(work: Callable[[], Any]) -> int:
    """Run some work and count the bytes that its graph keeps for the backward pass, weights left out."""
    seen: set[int] = set()
    held: list[torch.Tensor] = []  # alive, so that no other takes its place
    total = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        key = storage_key(tensor)
        if key not in seen and not tensor.is_leaf:
            seen.add(key)
            held.append(tensor)
            total += tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return total


def storage_key(tensor: torch.Tensor) -> int:
    """Return a number that tensors on the meta device share where they share memory.

    They have no address there. Torch has no public name for a storage; where a version has dropped the private one,
    each tensor counts by itself, so that memory is overestimated.
    """
    return getattr(tensor.untyped_storage(), "_cdata", id(tensor))


def _trained(unet: nn.Module, adapter: LoraAdapter | None) -> list[nn.Parameter]:
    return list(unet.parameters() if adapter is None else adapter.named_parameters().values())


def learning_bytes(model: DiffusionModel, config: FineTuneConfig, rows: int, size: tuple[int, int]) -> int:
    """Count what learning takes beside the weights: gradients, optimizer, average, and what `rows` rows keep."""
    fixed, row = learning_costs(model, config, size)
    return fixed + rows * row


def learning_costs(model: DiffusionModel, config: FineTuneConfig, size: tuple[int, int]) -> tuple[int, int]:
    """Count what learning takes beside the weights, in bytes: whatever the batch, and for each row of it."""
    unet, adapter = _twin(model, config)
    numbers = sum(p.numel() for p in _trained(unet, adapter))
    copies = 3 + bool(config.ema_decay)  # gradient, two moments
    activations = _activations(model, unet, adapter, size)
    each = activations.checkpointed if config.gradient_checkpointing == "on" else activations.kept
    return int(_FRAGMENTED * 4 * numbers * copies), int(_FRAGMENTED * each)


def fitting_pairs(each: int, other: int, most: int, device: torch.device) -> int:
    """Return how many pairs of `each` bytes fit beside `other` bytes in what is free: 1 to `most`."""
    free = free_bytes(device)
    return most if free is None or each <= 0 else max(1, min(most, (int(free * _LEARNING_SHARE) - other) // each))


def copy_bytes(model: DiffusionModel, config: FineTuneConfig) -> int:
    """Count the memory of the float32 copy that a full fine-tune changes; a LoRA's own weights are next to nothing."""
    return 4 * sum(p.numel() for p in model.unet.parameters()) if config.train == "full" else 0


def kept_bytes(config: FineTuneConfig, elements: int, size: tuple[int, int], processes: int) -> int:
    """Count the CPU memory of this process's pictures: what is learned from, and what the rewards get, a copy each.

    `elements` is how many numbers one picture is denoised as.
    """
    pixels, compared = 3 * size[0] * size[1], config.evaluate_samples if config.evaluate_every else 0
    pictures = max(config.samples_per_epoch // processes, compared)
    whole = KNOWN[config.algorithm].gaussian_steps  # every step, or the last latents and an output a timestep
    each = (config.steps + 1 if whole else config.timesteps_per_picture + 1) * elements + 2 * pixels
    bases = 2 if config.evaluate_steps else 1  # sampled as in training, and as afterwards
    return 4 * (pictures * each + bases * compared * pixels)  # those of the base stay for the next comparison


def check_memory(config: FineTuneConfig, needed: int, device: torch.device) -> None:
    """Raise OutOfMemoryError where learning takes more than is free, with both figures and what to change."""
    free = free_bytes(device)
    if free is not None and needed > free:
        advice = [f"lower train_batch_size ({config.train_batch_size})"] if config.train_batch_size > 1 else []
        advice += ["set gradient_checkpointing to on"] if config.gradient_checkpointing == "off" else []
        advice += ["make height and width smaller", "lower rank" if config.train == "lora" else "train a lora"]
        raise OutOfMemoryError(
            f"Learning would take {needed / 2**30:.1f} GB and {free / 2**30:.1f} GB are free: {', or '.join(advice)}."
        )


def check_kept(config: FineTuneConfig, needed: int) -> None:
    """Raise OutOfMemoryError where an epoch's pictures and their steps take more than is free."""
    free = free_bytes(torch.device("cpu"))
    if free is not None and needed > free:
        compared = f", evaluate_samples ({config.evaluate_samples})" if config.evaluate_every else ""
        raise OutOfMemoryError(
            f"samples_per_epoch: the pictures of an epoch, with every step on the way, would take "
            f"{needed / 2**30:,.1f} GB of the computer's memory and {free / 2**30:.1f} GB are free: lower "
            f"samples_per_epoch ({config.samples_per_epoch:,}){compared} or steps ({config.steps:,}), or make height "
            "and width smaller."
        )

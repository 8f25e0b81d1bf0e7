"""What learns: its weights, its optimizer, its moving average, and how it is switched on and off."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...core.errors import InputError, ModelFileError
from ...core.randomness import generator
from ...loaders.lora.apply import applied_loras, with_lora
from ...loaders.lora.read import make_lora
from ...loaders.lora.state import lora_state
from ...loaders.model import DiffusionModel
from ..config import FineTuneConfig
from .adapter import LoraAdapter, gradient_checkpointing, trainable_through
from .averages import WeightAverage
from .optimizer import optimize

LAST_SHARE = 0.1  # of the learning rate, after `decay_updates`
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Learner:
    """Hold a LoRA on a model, or a copy of its UNet, with AdamW.

    Make it and use it where the UNet is in place. `policy` is the handle to sample and learn with inside
    `active()`; `base` the one it is compared with.
    """

    def __init__(self, base: DiffusionModel, config: FineTuneConfig) -> None:
        self.base, self.config, self.updates = base, config, 0
        self.adapter: LoraAdapter | None = None
        if config.train == "full":
            self.policy = own_copy(base)
            self._parameters = dict(self.policy.unet.named_parameters())
        else:
            self.policy = base
            self.adapter = LoraAdapter(
                base.unet,
                rank=config.rank,
                alpha=config.lora_alpha,
                targets=config.targets,
                generator=generator(config.seed, "adapter"),
            )
            self._parameters = self.adapter.named_parameters()
        self.optimizer = torch.optim.AdamW(
            self._parameters.values(),
            lr=config.learning_rate,
            betas=_BETAS,
            eps=_EPSILON,
            weight_decay=config.weight_decay,
        )
        self.average = WeightAverage(self._parameters, config.ema_decay) if config.ema_decay else None

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return what is trained, by name."""
        return self._parameters

    @contextmanager
    def active(self, *, averaged: bool = False, learning: bool = False) -> Iterator[None]:
        """Run the policy's UNet as it was taught so far, for the length of the block.

        `averaged` takes the moving average where there is one; `learning` makes gradients possible.
        """
        unet = self.policy.unet
        with ExitStack() as stack:
            stack.enter_context(applied_loras(self.policy, ("unet",)))
            if learning:
                stack.enter_context(trainable_through(unet))
                stack.enter_context(gradient_checkpointing(unet, self.config.gradient_checkpointing))
            if self.adapter is not None:
                stack.enter_context(self.adapter.attached(unet))
            if averaged and self.average is not None:
                stack.enter_context(self.average.in_place_of(self._parameters))
            yield

    @contextmanager
    def as_base(self) -> Iterator[DiffusionModel]:
        """Return, inside `active()`, the model as it was, for the length of the block."""
        if self.adapter is None:
            yield self.base
            return
        with self.adapter.switched_off():
            yield self.policy

    @property
    def learning_rate(self) -> float:
        """Return that of the next update: it rises linearly over `warmup_updates`, then falls over `decay_updates`."""
        warmup, decay = self.config.warmup_updates, self.config.decay_updates
        share = min(1.0, (self.updates + 1) / (warmup + 1))
        if decay:
            share *= 1 - (1 - LAST_SHARE) * min(1.0, max(0, self.updates - warmup) / decay)
        return self.config.learning_rate * share

    def step(self, gradient_scale: float, all_reduce_sum: Callable[[list[torch.Tensor]], None]) -> float:
        """Make an update from the gradients at hand; return their length before it was limited.

        `all_reduce_sum` adds gradients over processes; then they are divided by `gradient_scale`.
        Raises NonFiniteError with weights and optimizer untouched.
        """
        limit = self.config.max_grad_norm
        norm = optimize(self.optimizer, gradient_scale, limit, self.learning_rate, all_reduce_sum)
        self.updates += 1
        if self.average is not None:
            self.average.update(self._parameters, self.updates)
        return norm

    # --- results --------------------------------------------------------------------------------

    @contextmanager
    def _result(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.in_place_of(self._parameters))
            yield

    def tuned(self, name: str) -> DiffusionModel:
        """Return the tuned model: a handle of the base with the LoRA as it is now, or a copy of the trained UNet."""
        with self._result():
            if self.adapter is not None:
                layers = {(c, path.replace(".", "_")): layer for (c, path), layer in self.adapter.layers().items()}
                return with_lora(self.base, make_lora(name, layers))
            unet = _copied(self.policy.unet, self.base.dtype).requires_grad_(False)
            modules = {**self.base.modules, "unet": unet}
            return replace(self.base, modules=modules, fingerprint=_fingerprint(self.base, unet))

    @contextmanager
    def as_sampled(self) -> Iterator[DiffusionModel]:
        """Return the tuned model to sample with in the block: a full fine-tune's is not copied for it."""
        if self.adapter is not None:
            yield self.tuned(f"{self.base.name} tuned")
            return
        with self._result():
            yield self.policy

    def lora_state(self) -> dict[str, torch.Tensor]:
        """Return the LoRA in kohya's keys, on the CPU. Raises InputError for a full fine-tune."""
        if self.adapter is None:
            raise InputError("train", "full", "A full fine-tune has no LoRA; save the model itself.")
        with self._result():
            return {name: tensor.cpu() for name, tensor in lora_state(self.adapter.layers()).items()}

    def result(self) -> dict[str, torch.Tensor]:
        """Return what would be the result now, by parameter: the weights, or their average; copied to the CPU."""
        with self._result():
            return {n: p.detach().to("cpu", copy=True).contiguous() for n, p in self._parameters.items()}

    @torch.no_grad()
    def load_result(self, state: Mapping[str, torch.Tensor]) -> None:
        """Make what `result()` gave the result again. Raises ModelFileError for names or shapes of another run."""
        odd = sorted(set(self._parameters) ^ set(state))
        odd = odd or [name for name, p in self._parameters.items() if state[name].shape != p.shape]
        if odd:
            raise ModelFileError(f"What was kept is of another run: {odd[0]} does not fit ({len(odd)} in all).")
        for name, p in self._parameters.items():
            p.copy_(state[name])
            if self.average is not None:
                self.average.averages[name] = state[name].to(p.device).float()

    # --- to resume ------------------------------------------------------------------------------

    def state(self) -> dict[str, torch.Tensor]:
        """Return weights, optimizer and average by name, copied to the CPU."""
        state = {f"weights.{name}": p for name, p in self._parameters.items()}
        for name, p in self._parameters.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                state[f"optimizer.{key}.{name}"] = value
        if self.average is not None:
            state |= {f"average.{name}": p for name, p in self.average.averages.items()}
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor], updates: int) -> None:
        """Put `state()`'s tensors back. Raises ModelFileError for names or shapes of another run."""
        expected = {f"weights.{name}": p for name, p in self._parameters.items()}
        if self.average is not None:
            expected |= {f"average.{name}": p for name, p in self.average.averages.items()}
        if updates:
            for name, p in self._parameters.items():
                expected |= {f"optimizer.{key}.{name}": p for key in ("exp_avg", "exp_avg_sq")}
                expected[f"optimizer.step.{name}"] = torch.zeros(())
        odd = sorted(set(expected) ^ set(state)) or [n for n, t in expected.items() if state[n].shape != t.shape]
        if odd:
            raise ModelFileError(f"The checkpoint is of another run: {odd[0]} does not fit ({len(odd)} in all).")
        for name, p in self._parameters.items():
            p.copy_(state[f"weights.{name}"])
            if self.average is not None:
                self.average.averages[name] = state[f"average.{name}"].to(p.device)
            if updates:
                self.optimizer.state[p] = self._moments(state, name, p)
        self.updates = updates

    @staticmethod
    def _moments(state: dict[str, torch.Tensor], name: str, p: torch.Tensor) -> dict[str, Any]:
        moments = {key: state[f"optimizer.{key}.{name}"].to(p.device, p.dtype) for key in ("exp_avg", "exp_avg_sq")}
        return {"step": state[f"optimizer.step.{name}"].clone(), **moments}


def own_copy(base: DiffusionModel) -> DiffusionModel:
    """Return a handle with a float32 copy of the UNet to change. Raises InputError where LoRAs are on the model."""
    if base.loras:
        raise InputError(
            "train", "full", f"{base.name} has LoRAs on it. Disconnect them, or pick lora, which learns on top of them."
        )
    unet = _copied(base.unet, torch.float32).requires_grad_(True)
    return replace(base, modules={**base.modules, "unet": unet})


def _copied(unet: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copy a network in another format, where they are, without what a host keeps on the module."""
    with torch.device("meta"):
        made = type(unet).from_config(unet.config)
    made.load_state_dict({name: t.to(dtype, copy=True) for name, t in unet.state_dict().items()}, assign=True)
    return made.eval()


def _fingerprint(base: DiffusionModel, unet: nn.Module) -> str:
    """Name a model by the one it was made of and the weights of its own UNet."""
    digest = hashlib.sha256(base.fingerprint.encode())
    for name, tensor in unet.state_dict().items():
        digest.update(f":{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]

"""What the four training scripts share: data, schedules, averaging, half-precision files."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from .world import Jitter, Scene, draw, random_scene
from .worlds import World, to_bytes

log = logging.getLogger(__name__)


@dataclass
class Pictures:
    """Drawn pictures, uint8 (N, 3, H, W), and their scenes."""

    pixels: torch.Tensor
    scenes: list[Any]


def draw_world(world: World, count: int, seed: int) -> Pictures:
    """Draw `count` pictures of a world, none of them held out, the same for the same seed."""
    rng = np.random.default_rng(seed)
    scenes = [world.random_scene(rng, from_held_out=False) for _ in range(count)]
    return Pictures(_stacked([world.draw(scene, rng) for scene in scenes]), scenes)


def _stacked(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def draw_pictures(count: int, seed: int, *, from_held_out: bool = False) -> Pictures:
    """Draw `count` pictures of shapes from one side of the split, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return draw_scenes([random_scene(rng, from_held_out=from_held_out) for _ in range(count)], rng)


def draw_scenes(scenes: list[Scene], rng: np.random.Generator, jitters: list[Jitter] | None = None) -> Pictures:
    """Draw scenes of shapes, each with a little jitter: one of `jitters`, or a random one."""
    jitters = [Jitter.random(rng) for _ in scenes] if jitters is None else jitters
    return Pictures(_stacked([to_bytes(draw(s, j)) for s, j in zip(scenes, jitters, strict=True)]), scenes)


def to_model_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1.0


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield `steps` index tensors of `size`, epoch after epoch in a new order."""
    generator = torch.Generator().manual_seed(seed)
    queue = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(queue) < size:
            queue = torch.cat([queue, torch.randperm(count, generator=generator)])
        yield queue[:size]
        queue = queue[size:]


class Average:
    """Exponential moving average of a module's parameters, with the usual warm-up."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.step = copy.deepcopy(module).eval(), decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)


class Progress:
    """One log line every `every` steps: step, smoothed loss, time left."""

    def __init__(self, name: str, steps: int, every: int = 100) -> None:
        self.name, self.steps, self.every = name, steps, every
        self.start, self.losses = time.monotonic(), []

    def __call__(self, step: int, loss: torch.Tensor) -> None:
        self.losses.append(float(loss.detach()))
        if (step + 1) % self.every == 0 or step + 1 == self.steps:
            mean = sum(self.losses) / len(self.losses)
            left = (time.monotonic() - self.start) / (step + 1) * (self.steps - step - 1) / 60
            line = "%s  step %d/%d  loss %.5f  %.1f min left"
            log.info(line, self.name, step + 1, self.steps, mean, left)
            self.losses.clear()


def autocast(device: str) -> torch.autocast:
    """bfloat16 arithmetic where it is native; float32 elsewhere (slower, same recipe)."""
    native = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device, dtype=torch.bfloat16, enabled=native)


def plain_attention(module: nn.Module) -> None:
    """Let diffusers' blocks multiply matrices: the CPU's fused attention is slow backward in bfloat16."""
    from diffusers.models.attention_processor import AttnProcessor

    for part in module.modules():
        if hasattr(part, "set_processor"):
            part.set_processor(AttnProcessor())


@torch.no_grad()
def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return the (R, C) matrix with its singular values brought near 1 (0.7 to 1.2): Newton-Schulz, five rounds.

    The quintic and its coefficients are those of Jordan et al. 2024, "Muon: an optimizer for hidden
    layers in neural networks".
    """
    wide = matrix.bfloat16() if matrix.shape[0] <= matrix.shape[1] else matrix.bfloat16().T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).float()


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """Return what Muon is for: the weights of linear layers and convolutions, but for the narrowest."""
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return [m.weight for m in layers if m.weight.requires_grad and min(len(m.weight), m.weight[0].numel()) >= 8]


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal (Jordan et al. 2024), for matrices and convolutions.

    Steps are scaled as in Liu et al. 2025, "Muon is scalable for LLM training", to the size of
    AdamW's, so that both take the same learning rate. A convolution is the matrix (out, in * k * k).
    torch's own is newer than the oldest torch we run on, and takes no convolutions.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in (w for w in group["params"] if w.grad is not None):
                memory = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                memory.mul_(group["momentum"]).add_(weight.grad)
                ahead = (weight.grad + group["momentum"] * memory).flatten(1)
                size = 0.2 * max(ahead.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonal(ahead).view_as(weight), alpha=-group["lr"] * size)


def my_part(index: torch.Tensor) -> torch.Tensor:
    """Return this process's rows of a batch: all of them, unless torchrun started several processes."""
    return index[dist.get_rank() :: dist.get_world_size()] if dist.is_initialized() else index


def _average_over_processes(parameters: Iterable[nn.Parameter]) -> None:
    """Make every process's gradients the mean of all."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class Learner:
    """The optimizer's side of a training: AdamW, a one-cycle learning rate, clipping, averaging.

    The parameters `by_matrix` are Muon's and not AdamW's.

    Call it with the loss of each step; `average` is the averaged module.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        *,
        lr: float,
        steps: int,
        decay: float = 0.999,
        learning: Iterable[nn.Parameter] | None = None,
        clipped: Iterable[nn.Parameter] | None = None,
        by_matrix: Iterable[nn.Parameter] = (),
    ) -> None:
        """`learning` and `clipped` are the module's parameters, and `learning`, unless they are given."""
        self._module, self._step = module, 0
        self._learning = list(module.parameters() if learning is None else learning)
        self._clipped = self._learning if clipped is None else list(clipped)
        matrices = list(by_matrix)
        others = [p for p in self._learning if all(p is not m for m in matrices)]
        self._optimizers = [torch.optim.AdamW(others, lr=lr, weight_decay=1e-2, betas=(0.9, 0.99))]
        if matrices:
            self._optimizers.append(Muon(matrices, lr=lr, weight_decay=1e-2))
        cycle = {"max_lr": lr, "total_steps": steps, "pct_start": 0.08, "final_div_factor": 100.0}
        self._schedules = [torch.optim.lr_scheduler.OneCycleLR(o, **cycle) for o in self._optimizers]
        self._average, self._progress = Average(module, decay), Progress(name, steps)

    def __call__(self, loss: torch.Tensor, shown: torch.Tensor | None = None) -> None:
        """One step down `loss`; the log shows `shown` in its place where that says more."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _average_over_processes(self._learning)
        torch.nn.utils.clip_grad_norm_(self._clipped, 1.0)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()
        self._average.update(self._module)
        self._progress(self._step, loss if shown is None else shown)
        self._step += 1

    @property
    def average(self) -> nn.Module:
        return self._average.module

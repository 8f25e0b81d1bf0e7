"""One optimizer step, the same for every algorithm."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...core.errors import NonFiniteError


def optimize(
    optimizer: torch.optim.Optimizer,
    gradient_scale: float,
    max_grad_norm: float,
    learning_rate: float,
    all_reduce_sum: Callable[[list[torch.Tensor]], None],
) -> float:
    """Take one optimizer step from the gradients at hand; return their length before it was limited.

    `all_reduce_sum` adds gradients over processes; then they are divided by `gradient_scale`.
    Raises NonFiniteError with weights and optimizer untouched.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    all_reduce_sum([p.grad for p in parameters])
    if gradient_scale != 1.0:
        for p in parameters:
            p.grad /= gradient_scale
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if not torch.isfinite(norm):
        optimizer.zero_grad()
        raise NonFiniteError(
            "The gradient became NaN or infinite; no update was made from it. Load the model in bfloat16 or float32, "
            "or lower learning_rate."
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()
    return float(norm)

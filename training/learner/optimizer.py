"""One optimizer step, the same for every algorithm."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from ...core.errors import NonFiniteError

log = logging.getLogger(__name__)

_MOST_SKIPPED = 10  # updates in a row


class LossScale:
    """Hold what float16 losses are multiplied by, so that their gradients neither vanish nor overflow.

    An update whose gradients overflowed is left out, and the scale halved (Micikevicius et al. 2018, arXiv 1710.03740,
    sec. 3.2).
    """

    def __init__(self, value: float) -> None:
        self.value, self._skipped = value, 0

    def taken(self, step: Callable[[float], float]) -> list[float]:
        """Run `step` with the scale; return its result, or nothing where the gradients were not finite.

        Raises NonFiniteError after ten in a row: then it is no matter of scale.
        """
        try:
            norm = step(self.value)
        except NonFiniteError:
            self._skipped += 1
            if self._skipped >= _MOST_SKIPPED:
                raise
            self.value /= 2
            log.warning("A gradient overflowed float16: this update is left out, the next have half the loss scale.")
            return []
        self._skipped = 0
        return [norm]


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

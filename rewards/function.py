"""A reward of one's own: a Python function, in the library only, never from a widget."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..core.errors import InputError
from .reward import Reward

if TYPE_CHECKING:
    from torch import nn


def custom(
    name: str,
    function: Callable[[torch.Tensor, list[str]], Any],
    *,
    needs_prompt: bool = False,
    meaning: str = "",
    version: str | None = None,
    differentiable: bool = False,
    modules: Mapping[str, nn.Module] | None = None,
    batch_size: int | None = None,
) -> Reward:
    """Make a `Reward` of a function of images (B, H, W, 3) in [0, 1] and B prompts to B numbers, higher better.

    Args:
        name: of the score's column.
        function: returns a tensor, an array or a list of B numbers.
        needs_prompt: whether an empty prompt is an error.
        meaning: range and meaning in one line.
        version: names this function wherever scores are kept. Without one, scores are not cached across instances,
            since two functions of one name cannot be told apart.
        differentiable: whether gradients flow through it to the images.
        modules: networks it uses, so that the host can move them.
        batch_size: pictures at once; None: found by itself.

    Raises InputError for what is no name or no function.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError("name", name, "A reward needs a name for its column.")
    if not callable(function):
        raise InputError("function", function, "Give a function of (images, prompts).")

    def score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        with torch.no_grad():
            return torch.as_tensor(function(images, list(prompts)))

    identity = f"custom\n{name}\n{version if version is not None else uuid.uuid4().hex}"
    return Reward(
        name=name,
        score=score,
        needs_prompt=needs_prompt,
        meaning=meaning or "As its author defined it.",
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        modules=dict(modules or {}),
        batch_size=batch_size,
        gradient_score=(lambda images, prompts: function(images, list(prompts))) if differentiable else None,
    )

"""CUDA graphs: what a network launches, recorded once and launched again as one piece.

A UNet is two thousand kernels; launching them one by one takes a computer longer than a fast GPU needs to run them.
The kernels are the same, so the results are, bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from ..core.memory import is_out_of_memory

log = logging.getLogger(__name__)

Tensors = tuple[torch.Tensor, ...]
Function = Callable[..., torch.Tensor | Tensors]


class Graphed:
    """A function of tensors on a GPU that is recorded in its second call of the same shapes, and replayed afterwards.

    The first call runs as it is: libraries set themselves up in it. Everything that the function reads beside its
    arguments must stay where it is, and as it is, while this object lives. Nothing in it may wait for the device.
    Results are copies, so they may be kept. On other devices it is the function.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._known: dict[Any, Function | None] = {}

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor | Tensors:
        if inputs[0].device.type != "cuda":
            return self._function(*inputs)
        shapes = tuple((t.shape, t.dtype) for t in inputs)
        if shapes not in self._known:
            self._known[shapes] = None
            return self._function(*inputs)
        replay = self._known[shapes]
        if replay is None:
            replay = self._known[shapes] = self._recorded(inputs)
        return replay(*inputs)

    def _recorded(self, inputs: Tensors) -> Function:
        """Return what replays the function; itself where it cannot be recorded. Raises where memory runs out."""
        try:
            return record(self._function, inputs)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.info("Without CUDA graphs here: %s", error)
            return self._function


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of a card that is recorded on: libraries keep workspaces for each that they have seen."""
    return torch.cuda.Stream(device)


def record(function: Function, inputs: Tensors) -> Function:
    """Record a function's kernels as a CUDA graph; return what runs them on other inputs of the same shapes."""
    device = inputs[0].device
    places = [torch.empty_like(t) for t in inputs]
    for place, t in zip(places, inputs, strict=True):
        place.copy_(t)
    # the card that is current need not be the network's: on another's stream nothing would be recorded
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        # what a host's other threads do meanwhile is theirs
        with torch.cuda.graph(graph, stream=_recording_stream(device), capture_error_mode="thread_local"):
            outputs = function(*places)

    def replay(*given: torch.Tensor) -> torch.Tensor | Tensors:
        for place, t in zip(places, given, strict=True):
            place.copy_(t)
        with torch.cuda.device(device):
            graph.replay()
        if isinstance(outputs, torch.Tensor):
            return outputs.clone()
        return tuple(t.clone() for t in outputs)

    return replay

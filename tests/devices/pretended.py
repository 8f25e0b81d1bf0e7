"""A pretended GPU: tensors on the CPU are real, tensors on "cuda" have shapes, formats and a device, and no contents.

Whatever a real GPU would refuse, a mixture of devices above all, is an error here too. What a real one would only be
slow at is counted: places where the host waits for it, and copies to it that make the host wait.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
_READS = (aten._local_scalar_dense.default, aten.item.default, aten.is_nonzero.default, aten.equal.default)
_INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
_GIB = 2**30


def _place() -> str:
    """Return the file and line of ours that is at work."""
    for frame in reversed(traceback.extract_stack()):
        name = frame.filename.replace("\\", "/")
        if not any(part in name for part in ("/tests/", "/.venv/", "site-packages", "/torch/", "/lib/python")):
            return f"{'/'.join(name.split('/')[-2:])}:{frame.lineno}"
    return "elsewhere"


def _read(tensor: torch.Tensor) -> Any:
    """Return a value for what has none: as if every test were passed."""
    return True if tensor.dtype is torch.bool else 0.5 if tensor.dtype.is_floating_point else 1


def _made(like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return a real tensor with contents for what was copied to the CPU."""
    dtype = dtype or like.dtype
    if dtype is torch.bool:
        return torch.ones(like.shape, dtype=dtype)
    return torch.full(like.shape, 0.5).to(dtype) if dtype.is_floating_point else torch.zeros(like.shape, dtype=dtype)


class PretendedGPU(FakeTensorMode):
    """Run a `with` block on it. `waits` and `copies` count by place; `reset` begins anew.

    Attributes:
        waits: where the host waits for the device: a value read, a tensor copied to the CPU.
        copies: where a tensor in pageable memory is copied to the device, which waits as well.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.reset()

    @property
    def avoid_device_init(self) -> bool:  # of a driver that is not there
        return True

    @avoid_device_init.setter
    def avoid_device_init(self, value: bool) -> None:
        pass

    def reset(self) -> None:
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        fakes = [t for t in tensors if isinstance(t, FakeTensor)]
        device = kwargs.get("device")
        to_gpu = device is not None and torch.device(device).type == "cuda"
        if not fakes and not to_gpu:
            return func(*args, **kwargs)
        if func in _READS and fakes:
            self.waits[_place()] += 1
            return _read(fakes[0])
        if func is aten.nonzero.default and fakes:
            self.waits[_place()] += 1
            return torch.zeros(0, fakes[0].ndim, dtype=torch.int64)
        if func is aten._to_copy.default and fakes and device is not None and not to_gpu:
            self.waits[_place()] += 1
            return _made(args[0], kwargs.get("dtype"))
        if func is aten._to_copy.default and to_gpu and not fakes:
            if not kwargs.get("non_blocking"):
                self.copies[_place()] += 1
            return super().__torch_dispatch__(func, types, (self.from_tensor(args[0]), *args[1:]), kwargs)
        if func is aten.copy_.default and fakes and not isinstance(args[0], FakeTensor):
            self.waits[_place()] += 1
            return args[0].copy_(_made(args[0]))
        if func in _INDEXED and fakes and len(fakes) < len(tensors):
            self.copies[_place()] += 1
        return super().__torch_dispatch__(func, types, args, kwargs)


_VALUES: dict[str, Callable[[torch.Tensor], Any]] = {
    "__float__": lambda t: 0.5,
    "__bool__": lambda t: True,
    "__int__": lambda t: 1,
    "item": _read,
    "tolist": lambda t: _made(t).tolist(),
    "numpy": lambda t: _made(t).numpy(),
}


@contextmanager
def pretended_gpu(monkeypatch: Any, gigabytes: int = 80) -> Iterator[PretendedGPU]:
    """Make torch believe in a GPU of so much memory, for the length of the block."""
    gpu = PretendedGPU()
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "mem_get_info": lambda device=None: ((gigabytes - 2) * _GIB, gigabytes * _GIB),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "is_bf16_supported": lambda including_emulation=True: True,
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *args: self)
    monkeypatch.setattr(torch.Tensor, "__getitem__", _indexing(torch.Tensor.__getitem__))
    monkeypatch.setattr(torch.Tensor, "__setitem__", _setting(torch.Tensor.__setitem__))
    for name in ("contiguous", "copy_"):
        monkeypatch.setattr(torch.Tensor, name, _dispatched(getattr(torch.Tensor, name), getattr(aten, name)))
    for name, value in _VALUES.items():
        monkeypatch.setattr(torch.Tensor, name, _reading(gpu, getattr(torch.Tensor, name), value))
    with gpu:
        yield gpu


def _reading(gpu: PretendedGPU, own: Callable[..., Any], value: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    def read(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self, FakeTensor):
            return own(self, *args, **kwargs)
        gpu.waits[_place()] += 1
        return value(self)

    return read


def _part(tensor: torch.Tensor, index: Any) -> tuple[torch.Tensor, list[Any]]:
    """Return what ints, slices, None and ... leave of a tensor, and the tensors that index the rest, by axis."""
    index = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [i for i in index if not isinstance(i, torch.Tensor)]:
        at = next(n for n, i in enumerate(index) if i is Ellipsis)
        missing = tensor.ndim - sum(i is not None and i is not Ellipsis for i in index)
        index[at : at + 1] = [slice(None)] * missing
    axis, lookups = 0, []
    for i in index:
        if i is None:
            tensor = tensor.unsqueeze(axis)
        elif isinstance(i, int) and not isinstance(i, bool):
            tensor = tensor.select(axis, i)
            continue
        elif isinstance(i, slice):
            tensor = aten.slice(tensor, axis, i.start, i.stop, i.step or 1)
        else:
            lookups += [None] * (axis - len(lookups)) + [torch.as_tensor(i)]
        axis += 1
    return tensor, lookups


def _dispatched(own: Callable[..., Any], operator: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return operator(self, *args, **kwargs) if isinstance(self, FakeTensor) else own(self, *args, **kwargs)

    return call


def _indexing(own: Callable[..., Any]) -> Callable[..., Any]:
    """Index without what torch's own code does before it dispatches: it asks for a driver."""

    def get(self: torch.Tensor, index: Any) -> torch.Tensor:
        if not isinstance(self, FakeTensor):
            return own(self, index)
        rest, lookups = _part(self, index)
        return aten.index(rest, lookups) if lookups else rest

    return get


def _setting(own: Callable[..., Any]) -> Callable[..., Any]:
    def put(self: torch.Tensor, index: Any, value: Any) -> None:
        if not isinstance(self, FakeTensor):
            own(self, index, value)
            return
        rest, lookups = _part(self, index)
        value = (
            value if isinstance(value, torch.Tensor) else torch.full((), value, dtype=self.dtype, device=self.device)
        )
        if lookups:
            aten.index_put_(rest, lookups, value)
        else:
            rest.copy_(value)

    return put

"""What one forward takes, where it goes, and what each lever that is not built yet would give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from tastemaker.core.progress import stay
from tastemaker.loaders import DiffusionModel
from tastemaker.sampling import SampleOptions
from tastemaker.sampling.guidance import Network
from tastemaker.sampling.prompts import encode_with_negative, shared_cache
from tastemaker.training.learner.adapter import LoraAdapter

from .models import PROMPT, full_size
from .rows import DEVICE, GPU, Rows, timed, wait
from .sampling import GUIDANCE, ROW_TFLOP


def measure(rows: Rows) -> None:
    model = full_size()
    for size in (1024, 512, 256) if GPU else (64,):
        if rows.room(f"forward {size}", 5):
            with rows.part(f"forward {size}"), _network(model, size) as call:
                _one(rows, model, size, call)
            if size == 512:
                with rows.part("forward of 16"):
                    _sixteen(rows, model, size)
    for size in (1024, 512) if GPU else (64,):
        if rows.room(f"decoding {size}", 3):
            with rows.part(f"decoding {size}"):
                _decoding(rows, model, size)


@contextmanager
def _network(model: DiffusionModel, size: int, count: int = 1) -> Iterator[Callable[[], torch.Tensor]]:
    """Return a guided call of the UNet at a size."""
    encoded, negative = encode_with_negative(shared_cache(), model, [PROMPT] * count, "", stay)
    told: dict[str, Any] = {"guidance_scale": GUIDANCE, "size": (size, size), "options": SampleOptions()}
    x = torch.randn(count, model.channels, size // model.downscale, size // model.downscale, device=DEVICE)
    t = torch.tensor(500, device=DEVICE)
    with Network(model, encoded, negative, **told) as network, torch.no_grad():
        yield lambda: network.predict(x, t)  # as it is, not as the graph that a run records


def _ms(call: Callable[[], Any], runs: int = 10) -> float:
    return 1e3 * timed(call, runs if GPU else 1, 2)["s"]


def _one(rows: Rows, model: DiffusionModel, size: int, call: Callable[[], torch.Tensor]) -> None:
    eager = _ms(call)
    rows.row("one guided forward", size=size, ms=eager, tflops=2e3 * ROW_TFLOP.get(size, 0.0) / eager)
    if not GPU:
        return
    wait()
    start = time.perf_counter()
    call()
    rows.row("forward, host alone", size=size, ms=1e3 * (time.perf_counter() - start))
    wait()
    with rows.part(f"graph {size}"):
        want = call()
        graph, began = torch.cuda.CUDAGraph(), time.perf_counter()
        before = torch.cuda.memory_reserved()
        with torch.cuda.graph(graph):
            found = call()
        taken = torch.cuda.memory_reserved() - before
        capture = time.perf_counter() - began
        ms = _ms(graph.replay)
        equal = bool(torch.equal(found, want))
        rows.row("forward, CUDA graph", size=size, ms=ms, equal=equal, capture_s=capture, gb=taken / 2**30)
        del graph, found
    with rows.part(f"kernels {size}"):
        _kernels(rows, size, call)
    for title, change in _levers().items():
        with rows.part(f"{title} {size}"), change:
            rows.row(f"forward, {title}", size=size, ms=_ms(call))
    if size == 512:
        with rows.part("forward, hooks"):
            adapter = LoraAdapter(model.unet, rank=16, alpha=16.0, targets="all", generator=None)
            with adapter.attached(model.unet), torch.no_grad():
                rows.row("forward, LoRA in hooks", size=size, ms=_ms(call))


def _sixteen(rows: Rows, model: DiffusionModel, size: int) -> None:
    """Measure 32 rows, as a rollout has them, with and without a LoRA in hooks."""
    adapter = LoraAdapter(model.unet, rank=16, alpha=16.0, targets="all", generator=None)
    with _network(model, size, 16) as many:
        rows.row("guided forward of 16 pictures", size=size, ms=_ms(many, 5))
    with adapter.attached(model.unet), _network(model, size, 16) as many:
        rows.row("guided forward of 16 pictures, LoRA in hooks", size=size, ms=_ms(many, 5))


def _kernels(rows: Rows, size: int, call: Callable[[], Any]) -> None:
    """Count kernels, the device's time in them, and the most expensive ones."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        call()
        wait()
    events = [e for e in found.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.device_time_total for e in events) / 1e3
    rows.row("forward, kernels", size=size, count=len(events), device_ms=busy)
    table = found.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=70)
    (rows.out / f"kernels_{size}.txt").write_text(table, encoding="utf-8")


def _levers() -> dict[str, Any]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    @contextmanager
    def autotuned() -> Iterator[None]:
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = False

    return {
        "cudnn.benchmark": autotuned(),
        "cuDNN attention": sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]),
        "flash attention": sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]),
        "as it is, again": nullcontext(),
    }


@torch.no_grad()
def _decoding(rows: Rows, model: DiffusionModel, size: int) -> None:
    vae = model.vae
    assert vae is not None
    latents = torch.randn(1, model.channels, size // model.downscale, size // model.downscale, device=DEVICE)
    latents = latents.to(vae.dtype)
    rows.row("decoding", size=size, way="as it is", ms=_ms(lambda: vae.decode(latents).sample, 5))
    if not GPU:
        return
    vae.to(memory_format=torch.channels_last)
    try:
        spread = latents.to(memory_format=torch.channels_last)
        rows.row("decoding", size=size, way="channels_last", ms=_ms(lambda: vae.decode(spread).sample, 5))
    finally:
        vae.to(memory_format=torch.contiguous_format)
    attention = vae.decoder.mid_block.attentions[0]
    hook = attention.register_forward_hook(lambda module, args, output: output.contiguous())
    try:
        rows.row("decoding", size=size, way="contiguous attention", ms=_ms(lambda: vae.decode(latents).sample, 5))
    finally:
        hook.remove()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        vae.decode(latents)
    rows.row("decoding", size=size, way="CUDA graph", ms=_ms(graph.replay, 5))

"""SDXL of full size, ours against diffusers: the same weights, prompts, steps and guidance, pictures to the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from scripts.reference import sdxl_pipeline
from tastemaker.loaders import DiffusionModel
from tastemaker.sampling import SampleOptions, SampleSettings, graphs, sample

from .models import PROMPT, full_size
from .rows import GPU, Rows, once, timed

STEPS, GUIDANCE = (25, 4.0) if GPU else (2, 4.0)
ROW_TFLOP = {1024: 6.761, 768: 3.641, 512: 1.589, 256: 0.428}  # one UNet forward of one row, counted
# (pixels, pictures at once), the most wanted first
SHAPES = [(1024, 1), (512, 1), (256, 1)] if GPU else [(64, 1)]
Work = Callable[[], torch.Tensor]


def ours(model: DiffusionModel, size: int, batch: int, **options: Any) -> Work:
    """Return a call of ours."""
    settings, chosen = SampleSettings("ddim", STEPS, GUIDANCE, height=size, width=size), SampleOptions(**options)
    return lambda: sample(model, PROMPT, settings, seeds=range(batch), options=chosen).images


def theirs(model: DiffusionModel, size: int, batch: int, *, compiled: str = "", vae: torch.dtype | None = None) -> Work:
    """Return a call of diffusers' pipeline as its users run it: float16, the VAE upcast where its config asks.

    `vae` decodes in that format instead, not upcast. `compiled` is "blocks", diffusers' own regional compilation, or
    "whole", the recipe of its fast guide: channels_last, the whole UNet and decoder.
    """
    from diffusers import DDIMScheduler

    pipeline = sdxl_pipeline(model, DDIMScheduler)
    pipeline.vae = copy.deepcopy(pipeline.vae).to(vae or model.dtype)
    if vae:
        pipeline.vae.register_to_config(force_upcast=False)
        decode = pipeline.vae.decode
        pipeline.vae.decode = lambda z, **told: decode(z.to(vae), **told)
    if compiled:
        pipeline.unet = copy.deepcopy(pipeline.unet)
    if compiled == "blocks":
        pipeline.unet.compile_repeated_blocks(fullgraph=True, dynamic=False)
    if compiled == "whole":
        pipeline.unet.to(memory_format=torch.channels_last).compile(fullgraph=True, dynamic=False)
        pipeline.vae.to(memory_format=torch.channels_last)
        pipeline.vae.decoder.compile(fullgraph=True, dynamic=False)

    def work() -> torch.Tensor:
        found = pipeline(
            [PROMPT] * batch,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(i) for i in range(batch)],
            height=size,
            width=size,
            output_type="pt",
        )
        return found.images.permute(0, 2, 3, 1).float().cpu()

    return work


@contextmanager
def as_it_is() -> Iterator[None]:
    """Record nothing as a CUDA graph, for the length of the block."""
    record = graphs.record
    graphs.record = lambda function, inputs: function
    try:
        yield
    finally:
        graphs.record = record


def measure(rows: Rows) -> None:
    model = full_size()
    for size, batch in SHAPES:
        shape(rows, model, size, batch)


def shape(rows: Rows, model: DiffusionModel, size: int, batch: int) -> None:
    """Measure diffusers, then each speed of ours, at one size."""
    about = STEPS * (0.02 + 0.06 * batch * (size / 1024) ** 2)
    runs = 4 if batch == 1 else 2 if batch * size**2 <= 2**22 else 1
    ways: dict[str, Callable[[], Work]] = {
        "diffusers": lambda: theirs(model, size, batch),
        "exact": lambda: ours(model, size, batch),
        "compile": lambda: ours(model, size, batch, speed="compile"),
        "fast": lambda: ours(model, size, batch, speed="fast"),
    }
    if (size, batch) == SHAPES[0] and not rows.quick:
        ways["diffusers, VAE in bfloat16"] = lambda: theirs(model, size, batch, vae=torch.bfloat16)
    if batch > 1 or (rows.quick and size < 512):
        del ways["compile"], ways["fast"]
    runs = min(runs, 3) if rows.quick else runs
    base, pictures = None, None
    for way, make in ways.items():
        name = f"{way} {size} b{batch}"
        if not rows.room(name, about * (runs + 1) + (20 if way == "compile" else 0)):
            continue
        with rows.part(name):
            work = make()
            kept: list[torch.Tensor] = []
            first = once(lambda work=work, kept=kept: kept.append(work()))
            figures = timed(work, runs, warm=0) | {"first": first}
            base = figures["s"] if way == "diffusers" else base
            figures["diffusers_over_this"] = base and base / figures["s"]
            if way == "exact":
                pictures = kept[0]
                with as_it_is():
                    figures["equal_without_graphs"] = bool(torch.equal(work(), pictures))
            if pictures is not None and way in ("compile", "fast"):
                figures["from_exact"] = float((kept[0] - pictures).abs().mean())
            tflops = 2 * batch * STEPS * ROW_TFLOP.get(size, 0.0) / figures["s"]
            rows.row("sampling", way=way, size=size, batch=batch, steps=STEPS, **figures, tflops=tflops)
            del work

"""Sampling, ours against diffusers' pipeline: `make benchmark-sampling`. Writes tables to `benchmarks/RESULTS.md`.

    python -m benchmarks.sampling [--model FOLDER_OR_FILE] [--size PIXELS] [--steps N] [--batches 1 4 16]
    python -m benchmarks.sampling --full-size [--size PIXELS] [--steps N]

Same weights, same noise, same steps, in turn, medians. On a CPU tiny-sdxl in float32 and, where the CPU has
it, bfloat16; on a GPU the model named, in float16. `--full-size` makes an SDXL with random weights in a temporary
folder (7 GB) and compares `auto` on a CPU, batch 1, with diffusers in float32.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch

from scripts.full_size.__main__ import write_folder
from scripts.full_size.official import official_modules
from scripts.reference import sdxl_pipeline
from tastemaker.loaders import DiffusionModel, load_diffusion_model
from tastemaker.loaders.formats.precision import native_bfloat16
from tastemaker.sampling import SampleOptions, SampleSettings, sample

from .common import machine, medians, timed, write_section

PROMPT = "a small yellow star at the top of a purple background"
GUIDANCE, RUNS = 4.0, 5
REFERENCES: dict[str, tuple[type, dict[str, Any]]] = {
    "ddim": (diffusers.DDIMScheduler, {}),
    "ddpm": (diffusers.DDPMScheduler, {}),
    "pndm": (diffusers.PNDMScheduler, {}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_ancestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
}


def ours(model: DiffusionModel, batch: int, steps: int, size: int, scheduler: str, **options: Any) -> Callable:
    settings, chosen = SampleSettings(scheduler, steps, GUIDANCE, height=size, width=size), SampleOptions(**options)
    return lambda: sample(model, PROMPT, settings, seeds=range(batch), options=chosen)


def theirs(model: DiffusionModel, batch: int, steps: int, size: int, scheduler: str) -> Callable:
    cls, extra = REFERENCES[scheduler]
    pipeline = sdxl_pipeline(model, cls)
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **extra)
    if pipeline.vae.dtype != model.dtype:  # ours stays in float32 on a CPU; the pipeline takes one format for all
        pipeline.vae = copy.deepcopy(pipeline.vae).to(model.dtype)
    return lambda: pipeline(
        [PROMPT] * batch,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(i) for i in range(batch)],
        height=size,
        width=size,
        output_type="pt",
    )


@contextmanager
def network_seconds(model: DiffusionModel) -> Iterator[list[float]]:
    """Collects the seconds spent inside the model's networks."""
    spent, hooks, started = [], [], []
    for module in model.modules.values():
        hooks.append(module.register_forward_pre_hook(lambda *_: started.append(time.perf_counter())))
        hooks.append(module.register_forward_hook(lambda *_: spent.append(time.perf_counter() - started.pop())))
    if model.vae is not None:  # the pipelines call decode, which is no forward
        for part in (model.vae.decoder, model.vae.post_quant_conv):
            hooks.append(part.register_forward_pre_hook(lambda *_: started.append(time.perf_counter())))
            hooks.append(part.register_forward_hook(lambda *_: spent.append(time.perf_counter() - started.pop())))
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def outside_network(model: DiffusionModel, work: Callable) -> float:
    """Seconds of a call outside the model's networks; the least of several, on a CPU."""
    found = []
    for _ in range(RUNS):
        with network_seconds(model) as spent:
            total = timed(work)
        found.append(total - sum(spent))
    return min(found)


def peak_megabytes(who: str, arguments: argparse.Namespace) -> float:
    """Peak memory of a fresh process that makes the largest batch."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.sampling",
        "--peak",
        who,
        "--steps",
        "2",
        "--size",
        str(arguments.size),
    ]
    command += ["--model", arguments.model, "--batches", str(max(arguments.batches))]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(arguments: argparse.Namespace) -> None:
    import resource

    model = load(arguments.model, None)
    make = ours if arguments.peak == "ours" else theirs
    make(model, max(arguments.batches), arguments.steps, arguments.size, "ddim")()
    if torch.cuda.is_available():
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def load(source: str, dtype: torch.dtype | None) -> DiffusionModel:
    return load_diffusion_model(source, dtype=dtype, device="cuda" if torch.cuda.is_available() else "cpu")


def row(label: str, *cells: float | str) -> str:
    """A line of a table, also printed at once: the whole takes minutes."""
    line = "| " + " | ".join([label, *(c if isinstance(c, str) else f"{c:.3f}" for c in cells)]) + " |"
    print(line, flush=True)
    return line


def batch_rows(model: DiffusionModel, half: DiffusionModel | None, arguments: argparse.Namespace) -> list[str]:
    rows = []
    for batch in arguments.batches:
        shape = (batch, arguments.steps, arguments.size)
        works = {"ours": ours(model, *shape, "ddim"), "theirs": theirs(model, *shape, "ddim")}
        works["auto"] = ours(half or model, *shape, "ddim")
        found = medians(works, RUNS)
        ratios = [f"{found['theirs'] / found[who]:.2f}" for who in ("ours", "auto")]
        cells = [found["ours"] / batch, found["ours"] / arguments.steps, found["theirs"] / batch, ratios[0]]
        rows.append(row(str(batch), *cells, found["auto"] / batch, ratios[1]))
    return rows


def scheduler_rows(model: DiffusionModel, arguments: argparse.Namespace) -> list[str]:
    rows, shape = [], (4, arguments.steps, arguments.size)
    for name in REFERENCES:
        found = medians({"ours": ours(model, *shape, name), "theirs": theirs(model, *shape, name)}, RUNS)
        rows.append(row(name, found["ours"], found["theirs"], f"{found['theirs'] / found['ours']:.2f}"))
    return rows


def speed_rows(model: DiffusionModel, half: DiffusionModel | None, arguments: argparse.Namespace) -> list[str]:
    """Each speed against diffusers in the model's own precision, batch 4."""
    shape = (4, arguments.steps, arguments.size)
    works = {"diffusers": theirs(model, *shape, "ddim")}
    works |= {speed: ours(model, *shape, "ddim", speed=speed) for speed in ("exact", "compile", "fast")}
    if half is not None:
        works |= {f"bfloat16, {speed}": ours(half, *shape, "ddim", speed=speed) for speed in ("exact", "fast")}
        works["diffusers in bfloat16"] = theirs(half, *shape, "ddim")
    found = medians(works, RUNS)
    return [row(name, seconds, f"{found['diffusers'] / seconds:.2f}") for name, seconds in found.items()]


def full_size(arguments: argparse.Namespace) -> None:
    """The real architecture on a CPU: ours at `auto` against diffusers in float32 and in bfloat16, batch 1."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(official_modules(), Path(folder))
        exact = load(folder, torch.float32)
        auto = load(folder, torch.bfloat16 if native_bfloat16() else torch.float32)
        shape = (1, arguments.steps, arguments.size)
        works = {
            "diffusers, float32": theirs(exact, *shape, "ddim"),
            "ours, float32": ours(exact, *shape, "ddim"),
            "diffusers, bfloat16 UNet": theirs(auto, *shape, "ddim"),
            "ours, auto": ours(auto, *shape, "ddim"),
        }
        found = medians(works, RUNS)
    rows = [row(name, seconds, f"{found['diffusers, float32'] / seconds:.2f}") for name, seconds in found.items()]
    tables = [
        f"{machine()} SDXL with random weights, {arguments.size} px, {arguments.steps} steps, guidance {GUIDANCE}, "
        f"batch 1, warm, medians of {RUNS}.",
        "",
        "| | s | diffusers float32 / this |",
        "|---|---|---|",
        *rows,
    ]
    write_section("Sampling, full size", "\n".join(tables))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="tiny-sdxl")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--full-size", action="store_true", help="SDXL with random weights on a CPU")
    parser.add_argument("--peak", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments)
        return
    if arguments.full_size:
        full_size(arguments)
        return
    model = load(arguments.model, None)
    native = not torch.cuda.is_available() and native_bfloat16()
    half = load(arguments.model, torch.bfloat16) if native else None
    loading = medians({"load": lambda: load(arguments.model, None)}, 3)["load"]
    shape = (1, arguments.steps, arguments.size)
    outside = {
        "ours": outside_network(model, ours(model, *shape, "ddim")),
        "diffusers": outside_network(model, theirs(model, *shape, "ddim")),
    }
    peaks = {who: peak_megabytes(who, arguments) for who in ("ours", "theirs")}
    tables = "\n".join(
        [
            f"{machine()} {arguments.model}, {arguments.size} px, {arguments.steps} steps, guidance {GUIDANCE}, "
            f"{str(model.dtype).removeprefix('torch.')}, warm, medians of {RUNS}; ratios above 1 are in our favour.",
            "",
            "| batch (ddim) | ours, s/image | ours, s/step | diffusers, s/image | diffusers / ours | auto, s/image "
            "| diffusers / auto |",
            "|---|---|---|---|---|---|---|",
            *batch_rows(model, half, arguments),
            "",
            "| scheduler (batch 4) | ours, s | diffusers, s | diffusers / ours |",
            "|---|---|---|---|",
            *scheduler_rows(model, arguments),
            "",
            "| speed (ddim, batch 4) | s | diffusers / this |",
            "|---|---|---|",
            *speed_rows(model, half, arguments),
            "",
            "| other | ours | diffusers |",
            "|---|---|---|",
            row("a call outside the networks, s", outside["ours"], outside["diffusers"]),
            row(f"peak memory, batch {max(arguments.batches)}, MB", *(f"{p:.0f}" for p in peaks.values())),
            row("load, s", loading, ""),
        ]
    )
    write_section("Sampling", tables)


if __name__ == "__main__":
    main()

"""The main job, timed: `make benchmark`. Appends a table to `benchmarks/RESULTS.md`.

Warm, medians of several runs, ours and diffusers' pipeline in turn, since the machine may be busy.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import DDIMScheduler

from scripts.comfy.server import ComfyServer
from scripts.reference import sdxl_pipeline
from tastemaker.loaders import load_diffusion_model
from tastemaker.rewards import ScoreTable, load_reward
from tastemaker.rewards.table import rank_table
from tastemaker.sampling import sample

PROMPT = "a small yellow star at the top of a purple background"
IMAGES, STEPS, GUIDANCE, RUNS = 16, 25, 4.0, 5
RESULTS = Path(__file__).parent / "RESULTS.md"


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def cpu_name() -> str:
    try:
        names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def measure() -> dict[str, float]:
    """Median seconds of each piece."""
    model, reward = load_diffusion_model("tiny-sdxl"), load_reward("tiny-imagereward")
    pipeline = sdxl_pipeline(model, DDIMScheduler)

    def ours():
        return sample(model, PROMPT, steps=STEPS, guidance_scale=GUIDANCE, seeds=range(IMAGES))

    def reference():
        generators = [torch.Generator().manual_seed(i) for i in range(IMAGES)]
        return pipeline(
            [PROMPT] * IMAGES,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generators,
            height=64,
            width=64,
            output_type="pt",
        )

    def judge(samples) -> None:
        scores = reward(samples.images, samples.prompts)
        table = ScoreTable(samples.images, samples.prompts, samples.seeds, {reward.name: scores}, reward.name)
        rank_table(table, top_k=4, group_by="prompt")

    samples = ours()
    reference()
    judge(samples)
    rows: dict[str, list[float]] = {"ours": [], "diffusers": [], "score and rank": []}
    for _ in range(RUNS):
        rows["ours"].append(timed(ours))
        rows["diffusers"].append(timed(reference))
        rows["score and rank"].append(timed(lambda: judge(samples)))
    return {name: statistics.median(times) for name, times in rows.items()}


def host_import_seconds() -> float:
    """What the host prints for this pack at its start; the median of three starts."""
    found = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server:
            seconds = re.search(r"([\d.]+) seconds: .*custom_nodes/tastemaker", server.log)
            found.append(float(seconds.group(1)) if seconds else float("nan"))
    return statistics.median(found)


def main() -> None:
    figures = measure()
    started = host_import_seconds()
    total = figures["ours"] + figures["score and rank"]
    ratio = figures["ours"] / figures["diffusers"]
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cpu_name()}, {os.cpu_count()} cores"
    text = f"""
## Main job, {datetime.date.today().isoformat()}

{device}; {torch.get_num_threads()} threads, float32; {versions}; load average at the end {os.getloadavg()[0]:.1f}.
tiny-sdxl, {IMAGES} images, {STEPS} DDIM steps, guidance {GUIDANCE}, warm, medians of {RUNS}.

| what | seconds |
|---|---|
| sample, ours | {figures["ours"]:.2f} |
| sample, diffusers' StableDiffusionXLPipeline, same weights and noise | {figures["diffusers"]:.2f} |
| ours / diffusers | {ratio:.2f} |
| score and rank with tiny-imagereward | {figures["score and rank"]:.2f} |
| sample, score and rank (wanted: under 15) | {total:.2f} |
| added to ComfyUI's start, as it prints (wanted: at most 0.2) | {started:.1f} |
"""
    header = "# Results\n\nEach table is written by the script beside this file that measured it.\n"
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else header
    RESULTS.write_text(before + text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

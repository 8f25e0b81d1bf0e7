"""Measure evaluation: what its figures mean on the embedded models, features a second, memory at 30,000 pictures.

    python -m benchmarks.evaluation [meaning | speed | scale ...]
    python -m benchmarks.evaluation before-after --lora FILE    a LoRA of `benchmarks.ddpo run imagereward`

`speed` compares with torch-fidelity, on random weights of the real layout, in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.embedded.checker import read
from scripts.embedded.world import Jitter, Scene, caption, draw, random_scene
from tastemaker.evaluation.__main__ import main as evaluation_command
from tastemaker.evaluation.evaluate import evaluate
from tastemaker.evaluation.fid.distance import frechet_distance, frechet_interval, kernel_distance
from tastemaker.evaluation.fid.features import load_extractor, read_features
from tastemaker.evaluation.fid.inception import Inception
from tastemaker.evaluation.fid.inception_file import FILE_NAMES
from tastemaker.evaluation.fid.statistics import statistics_of
from tastemaker.evaluation.protocols import PromptRow
from tastemaker.evaluation.references import Reference
from tastemaker.evaluation.report.content import format_estimate
from tastemaker.evaluation.result import Evaluation
from tastemaker.evaluation.run import Run
from tastemaker.evaluation.settings import EvaluationSettings
from tastemaker.evaluation.sources import GivenPictures, SampledPictures
from tastemaker.images.convert import to_pil
from tastemaker.images.pictures import TensorPictures
from tastemaker.loaders import load_diffusion_model
from tastemaker.rewards import load_reward
from tastemaker.sampling.settings import SampleSettings

from . import ddpo
from .common import machine, medians, write_section

SEED = 77


# --- what the figures mean --------------------------------------------------------------------


def scenes_and_prompts(count: int, seed: int) -> tuple[list[Scene], list[str], torch.Tensor]:
    """Scenes that were not trained on, a caption of each, and their pictures (count, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, from_held_out=True) for _ in range(count)]
    texts = [caption(scene, rng).text for scene in scenes]
    return scenes, texts, torch.tensor(np.stack([draw(s, Jitter.random(rng)) for s in scenes]), dtype=torch.float32)


def right(scene: Scene, picture: np.ndarray) -> bool:
    """Whether the checker reads shape, colour and background as the scene has them."""
    found = read(picture)
    return all(getattr(found, name) == getattr(scene, name) for name in ("shape", "colour", "background"))


def meaning(folder: Path, count: int) -> str:
    """Measure steps, guidance, noise and real pictures, all against drawn pictures of scenes not trained on."""
    scenes, texts, _ = scenes_and_prompts(count, SEED)
    _, _, drawn = scenes_and_prompts(1000, SEED + 1)
    _, _, others = scenes_and_prompts(count, SEED + 2)
    model, reward, extractor = (
        load_diffusion_model("tiny-sdxl"),
        load_reward("tiny-imagereward"),
        load_extractor("tiny-vision"),
    )
    rows = [PromptRow(str(i), text) for i, text in enumerate(texts)]
    reference = Reference("drawn", GivenPictures(TensorPictures(drawn)), folder=folder / "reference")
    settings = EvaluationSettings(kid_subset_size=min(100, count))

    def measured(title: str, source: Any) -> Evaluation:
        place = folder / title.replace(" ", "_")
        found = evaluate(Run(title, rows, source, place, "", extractor, reference, [reward], settings))
        assert found is not None  # this process gathers
        return found

    lines = []

    def line(title: str, source: Any) -> None:
        if isinstance(source, SampledPictures):
            source = SampledPictures(
                model, folder / title.replace(" ", "_") / "pictures", tuple(texts), tuple(range(count)), source.settings
            )
        found = measured(title, source)
        pictures = found.table.pictures
        good = sum(right(scene, pictures.picture(i).numpy()) for i, scene in enumerate(scenes))
        values = found.sections["overall"]
        figures = [format_estimate(values[n]) for n in ("FID", "KID x1000", "tiny-imagereward")]
        lines.append(f"| {title} | {' | '.join(figures)} | {100 * good / count:.0f}% |")

    def sampled(steps: int, guidance: float) -> SampledPictures:
        return SampledPictures(model, folder, (), (), SampleSettings(steps=steps, guidance_scale=guidance))

    noise = torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    line("noise", GivenPictures(TensorPictures(noise)))
    line("drawn, of other scenes", GivenPictures(TensorPictures(others)))
    for steps in (1, 2, 4, 8, 16):
        line(f"{steps} steps, guidance 3", sampled(steps, 3.0))
    for guidance in (1.0, 2.0, 6.0, 15.0):
        line(f"8 steps, guidance {guidance:g}", sampled(8, guidance))
    head = (
        f"tiny-sdxl, {count} pictures of as many captions that were not trained on, against 1,000 drawn pictures of "
        "other such scenes, read by tiny-vision (96 features); 95% intervals. right: the checker reads shape, "
        f"colour and background as the caption's scene has them.\n{machine()}\n\n"
        "| what | FID | KID x1000 | tiny-imagereward | right |\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(lines)


# --- before and after fine-tuning -------------------------------------------------------------


def before_after(folder: Path, lora: Path) -> str:
    """tiny-sdxl without and with a LoRA on prompts it was not tuned on, by the command line's own report."""
    texts = ddpo.prompts(ddpo.TASKS["imagereward"].prompt)[1]
    (folder / "prompts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(SEED)
    for i in range(384):
        _, _, colour, shape, *_, background, _ = texts[i % len(texts)].split()
        picture = draw(Scene(shape, colour, background, "small", "top"), Jitter.random(rng))
        to_pil(torch.tensor(picture)).save(folder / "pictures" / f"{i:04d}.png")
    (folder / "tuned.safetensors").write_bytes(lora.read_bytes())
    plan = {
        "protocol": "own",
        "folder": ".",
        "models": [
            {"title": "before", "model": "tiny-sdxl"},
            {"title": "after DDPO", "model": "tiny-sdxl", "loras": ["tuned.safetensors"]},
        ],
        "sampling": {"steps": 25, "guidance_scale": 3.0},
        "features": "tiny-vision",
        "rewards": ["tiny-imagereward", "jpeg-compressibility"],
        "settings": {"images_per_prompt": 6, "seed": 9000, "kid_subset_size": 60, "resamples": 40},
        "output": "study",
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    if evaluation_command([str(folder / "plan.json"), "--device", "cpu"]):
        raise SystemExit("The evaluation failed.")
    chart = Path(__file__).parent / "ddpo" / "before_after.png"
    chart.write_bytes((folder / "study" / "report_chart.png").read_bytes())
    report = (folder / "study" / "report.md").read_text(encoding="utf-8")
    table = [line for line in report.splitlines() if line.startswith("|")]
    pairs = [line for line in report.splitlines() if line.startswith("- after DDPO against before")]
    head = (
        f'{machine()} {len(texts)} prompts that were not tuned on, such as "{texts[0]}", 6 pictures each, DDIM, 25 '
        "steps, eta 0, guidance 3; against 384 drawn pictures of those prompts, read by tiny-vision."
    )
    return "\n".join([head, "", *table, "", *pairs, "", "![Before and after](ddpo/before_after.png)"])


# --- speed ------------------------------------------------------------------------------------


def random_inception(path: Path) -> None:
    """Write the official file's layout with random weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, value in Inception().state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key.endswith(("running_var", "bn.weight")):
            state[key] = torch.ones(value.shape)
        else:
            scale = (2 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.1
            state[key] = scale * torch.randn(value.shape, generator=generator)
    torch.save(state, path)


def speed(folder: Path, count: int, runs: int) -> str:
    """Features a second, with the resizing torch-fidelity has, of pictures in memory."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    random_inception(folder / FILE_NAMES[3])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = load_extractor("inception-v3", folders=[folder], resize="legacy", device=device)
    clean = load_extractor("inception-v3", folders=[folder], device=device)
    theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(folder / FILE_NAMES[3]))
    theirs.to(device)
    images = torch.rand(count, 256, 256, 3, generator=torch.Generator().manual_seed(0))
    pictures = TensorPictures(images)
    bytes_ = (images * 255).round().to(torch.uint8).permute(0, 3, 1, 2)
    size = 16 if device == "cpu" else 64

    def reference() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([theirs(part.to(device))[0].cpu() for part in bytes_.split(size)])

    apart = (read_features(pictures, ours, batch_size=size).features - reference()).abs().max()
    seconds = medians(
        {
            "ours, legacy resizing": lambda: read_features(pictures, ours, batch_size=size),
            "torch-fidelity, the same resizing": reference,
            "ours, clean resizing": lambda: read_features(pictures, clean, batch_size=size),
        },
        runs,
    )
    rows = "\n".join(f"| {name} | {count / s:.2f} |" for name, s in seconds.items())
    ratio = seconds["torch-fidelity, the same resizing"] / seconds["ours, legacy resizing"]
    return (
        f"{machine()}\n{count} pictures of 256 x 256 in memory, {size} at once, random weights, medians of {runs}, "
        f"taken in turn. Largest difference between the two libraries' features: {apart:.1e}.\n\n"
        f"| what | pictures a second |\n|---|---|\n{rows}\n| ours over theirs, same resizing | {ratio:.2f} |"
    )


# --- scale ------------------------------------------------------------------------------------


def scale(count: int, width: int = 2048) -> str:
    """Statistics of a stream of features: seconds, and by how much memory grows."""

    def stream(seed: int):
        generator = torch.Generator().manual_seed(seed)
        for first in range(0, count, 500):
            yield torch.rand(min(500, count - first), width, generator=generator)

    list(zip(stream(0), range(2), strict=False))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    first = statistics_of(stream(1))
    summed = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    second = statistics_of(stream(2))
    start = time.perf_counter()
    value = frechet_distance(first, second)
    distance = time.perf_counter() - start
    rows = torch.rand(2000, width, generator=torch.Generator().manual_seed(3))
    start = time.perf_counter()
    kernel_distance(lambda i: rows[i], 2000, lambda i: rows[i], 2000, subsets=10)
    kid = (time.perf_counter() - start) * 10
    start = time.perf_counter()
    frechet_interval(lambda i: rows[i], 2000, statistics_of([rows]), second, resamples=2)
    once = (time.perf_counter() - start) / 3
    return (
        f"{machine()}\n\n| what, {count:,} pictures, {width:,} features, float64 | |\n|---|---|\n"
        f"| mean and covariance, streamed | {summed:.1f} s |\n| peak memory grown by | {grown:.0f} MiB |\n"
        f"| FID of two statistics (here {value:.2f}) | {distance:.1f} s |\n"
        f"| KID, 100 subsets of 1,000 (from 10) | {kid:.0f} s |\n"
        f"| one resample of FID's interval, of 2,000 pictures, about | {once:.1f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["meaning", "speed", "scale"])
    parser.add_argument("--count", type=int, default=128, help="pictures of each row of `meaning`")
    parser.add_argument("--pictures", type=int, default=64, help="pictures of `speed`")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--lora", type=Path, help="for before-after")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if "scale" in given.what:  # first: peak memory only grows
            write_section("Evaluation at 30,000 pictures", scale(30_000))
        if "speed" in given.what:
            write_section("Evaluation: features a second", speed(folder, given.pictures, given.runs))
        if "before-after" in given.what:
            write_section("Evaluation: before and after DDPO", before_after(folder, given.lora))
        if "meaning" in given.what:
            write_section("Evaluation: what the figures mean", meaning(folder, given.count))


if __name__ == "__main__":
    main()

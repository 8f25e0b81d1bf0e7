"""Scoring, ours against the reference's loop, at ImageReward's full size: writes a table to `benchmarks/RESULTS.md`.

    python -m benchmarks.scoring [--pictures N] [--size PIXELS] [--weights FOLDER] [--print]

The weights are random, 447 M parameters in the official layout, made in a temporary folder (1.8 GB), or those in
FOLDER. The reference's loop is one picture at a time in float32: open, prepare, tokenize, score
(THUDM/ImageReward, ImageReward.py, `inference_rank`), with our network in it, whose attention is fused and the
reference's is not. Both start from picture files. A folder of ten thousand is measured by `benchmarks.folder`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tastemaker.loaders.formats.precision import native_bfloat16
from tastemaker.ranking import agreement
from tastemaker.rewards import Reward, load_reward
from tastemaker.rewards.models._blip import MED_LARGE, VIT_LARGE
from tastemaker.rewards.models._blip_models import ImageRewardModel, to_official
from tastemaker.rewards.models._text import bert_texts
from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, pil_pixels

from .common import machine, medians, write_section

PROMPT = "a painting of an ocean with clouds and birds, day time, low depth field effect"
NAME = "imagereward-v1.0"
RUNS = 3


def write_weights(folder: Path) -> None:
    """A random ImageReward of full size: no layer's outputs vanish, so pictures are told apart."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = ImageRewardModel(VIT_LARGE, MED_LARGE)
    state = {}
    for key, value in network.state_dict().items():
        if key.endswith("position_ids"):
            continue
        if value.ndim == 1:
            norm = "norm" in key.lower() and key.endswith("weight")
            state[key] = torch.ones(value.shape) if norm else torch.zeros(value.shape)
        else:
            state[key] = torch.randn(value.shape) * 0.03
    save_file(to_official(state), folder / "ImageReward.safetensors", metadata={"format": "pt"})


def write_pictures(folder: Path, count: int, size: int) -> list[Path]:
    """Coloured noise of different coarseness as PNG files."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        cells = int(rng.choice([2, 4, 8, 16, 32, 64]))
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        paths.append(folder / f"{number:04d}.png")
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(paths[-1], compress_level=1)
    return paths


def reference_loop(reward: Reward, paths: list[Path]) -> torch.Tensor:
    """One picture at a time, text and all, as the reference scores a list."""
    network, tokenizer = reward.modules["network"], bert_texts()
    device = next(network.parameters()).device
    scores = []
    for path in paths:
        with torch.no_grad(), Image.open(path) as picture:
            pixels = pil_pixels([picture], 224, CLIP_MEAN, CLIP_STD).to(device)
            ids, mask = (part.to(device) for part in tokenizer([PROMPT]))
            scores.append(network(pixels, ids, mask).cpu())
    return torch.cat(scores)


def default_dtype(device: str) -> torch.dtype:
    """What Load Reward's auto picks."""
    if device == "cuda":
        return torch.float16
    return torch.bfloat16 if native_bfloat16() else torch.float32


def loading(folder: Path, dtype: torch.dtype, device: str) -> tuple[Reward, float]:
    """A reward, and the shortest of three times that loading it took, from a warm disk."""
    spent = []
    for _ in range(RUNS):
        reward = None  # the last one's memory, before the next is made
        start = time.perf_counter()
        reward = load_reward(NAME, source=folder, dtype=dtype, device=device)
        spent.append(time.perf_counter() - start)
    return reward, min(spent)


def measure(arguments: argparse.Namespace, folder: Path) -> str:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = Path(arguments.weights) if arguments.weights else folder
    if not arguments.weights:
        write_weights(folder)
    paths = write_pictures(folder, arguments.pictures, arguments.size)
    plain, plain_seconds = loading(weights, torch.float32, device)
    dtype = default_dtype(device)
    ours, ours_seconds = loading(weights, dtype, device)
    works = {
        "the reference's loop, float32": lambda: reference_loop(plain, paths),
        "ours, float32": lambda: plain.picture_columns(paths, PROMPT),
        f"ours, {str(dtype).removeprefix('torch.')} (the default here)": lambda: ours.picture_columns(paths, PROMPT),
    }
    seconds = medians(works, RUNS)
    base = seconds["the reference's loop, float32"]
    wanted = reference_loop(plain, paths)
    same = (plain.picture_columns(paths, PROMPT)[NAME] - wanted).abs().max().item()
    tau = agreement(wanted, ours.picture_columns(paths, PROMPT)[NAME])
    rows = [f"| {name} | {len(paths) / s:.2f} | {base / s:.2f} |" for name, s in seconds.items()]
    kind = f"weights of {weights.name}" if arguments.weights else "random weights"
    return "\n".join(
        [
            f"{machine()} ImageReward, {kind}, {len(paths)} PNG files of {arguments.size} px, medians of {RUNS}; "
            f"loading is the shortest of {RUNS}.",
            "",
            "| what | pictures/s | against the loop |",
            "|---|---|---|",
            *rows,
            "",
            f"Ours in float32 differs from the loop by at most {same:.1e}; the default's order agrees with it to "
            f"Kendall's tau {tau:.3f}. Loading from a warm disk: {ours_seconds:.2f} s by default, "
            f"{plain_seconds:.2f} s in float32.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--weights", help="a folder with ImageReward.pt or ImageReward.safetensors")
    parser.add_argument("--print", action="store_true", help="print only, for a machine that is busy")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        table = measure(arguments, Path(made))
    if arguments.print:
        print(table)
    else:
        write_section("Scoring", table)


if __name__ == "__main__":
    main()

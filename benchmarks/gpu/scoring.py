"""ImageReward of full size: the network, pictures in memory, files, preparation, and the reference's loop."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

from benchmarks.scoring import NAME, PROMPT, reference_loop, write_pictures, write_weights
from tastemaker.images.folder import read_folder
from tastemaker.ranking.scoring import score_pictures
from tastemaker.rewards import load_reward
from tastemaker.rewards.models.preprocess import pillow_crop

from .rows import DEVICE, GPU, HALF, Rows, timed

COUNT, SIZE = (256, 1024) if GPU else (4, 64)


def measure(rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_weights(folder)
        reward = load_reward(NAME, source=folder, dtype=HALF, device=DEVICE)
        if not rows.quick:
            _network(rows, reward.modules["network"])
        _memory(rows, reward)
        pictures = folder / "pictures"
        pictures.mkdir()
        few = write_pictures(pictures, 16, SIZE)
        _files(rows, reward, ".png", _copies(few, COUNT))
        jpegs = folder / "jpegs"
        jpegs.mkdir()
        for path in few:
            with Image.open(path) as picture:
                picture.save(jpegs / f"{path.stem}.jpg", quality=95)
        few = sorted(jpegs.glob("*.jpg"))
        _files(rows, reward, ".jpg", _copies(few, COUNT))
        if rows.room("reference loop", 5):
            with rows.part("reference loop"):
                plain = load_reward(NAME, source=folder, dtype=torch.float32, device=DEVICE)
                seconds = timed(lambda: reference_loop(plain, few), 1, 1)["s"]
                rows.row("scoring, the reference's loop", size=SIZE, per_s=len(few) / seconds)


def _copies(paths: Sequence[Path], count: int) -> Path:
    """Copy files until there are `count`, each with another ending, so that no cache takes them for one."""
    folder = paths[0].parent

    def one(i: int) -> None:
        source = paths[i % len(paths)]
        (folder / f"more_{i:05d}{source.suffix}").write_bytes(source.read_bytes() + i.to_bytes(4, "big"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count - len(paths))))
    return folder


def _network(rows: Rows, network: torch.nn.Module) -> None:
    for batch in (8, 32, 64, 128, 256) if GPU else (2,):
        with rows.part(f"network {batch}"), torch.no_grad():
            pixels = torch.randn(batch, 3, 224, 224, device=DEVICE, dtype=HALF)
            ids = torch.ones(batch, 35, dtype=torch.long, device=DEVICE)
            figures = timed(lambda: network(pixels, ids, ids), 5)  # noqa: B023
            rows.row("scoring, the network alone", batch=batch, per_s=batch / figures["s"], peak_gb=figures["peak_gb"])


def _memory(rows: Rows, reward) -> None:
    images = torch.rand(min(COUNT, 256), SIZE, SIZE, 3)
    with rows.part("memory"):
        figures = timed(lambda: reward(images, PROMPT), 2)
        rows.row("scoring, a batch in memory", size=SIZE, pictures=len(images), per_s=len(images) / figures["s"])
    there = images[:32].to(DEVICE)
    with rows.part("resampling"):
        figures = timed(lambda: pillow_crop(there, 224), 5)
        rows.row("resampling on the device", size=SIZE, per_s=len(there) / figures["s"], peak_gb=figures["peak_gb"])


def _files(rows: Rows, reward, ending: str, folder: Path) -> None:
    with rows.part(ending):
        found = read_folder(folder).pictures
        figures = timed(lambda: score_pictures(found, PROMPT, reward), 2, 1)
        rows.row(f"scoring, {ending} files", size=SIZE, pictures=len(found), per_s=len(found) / figures["s"])

"""Folders and shards to rank, and plans for them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(level: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """A picture's file; which one is told by its grey."""
    noise = np.random.default_rng(level).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def write_folder(root: Path, count: int, first: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        (root / f"p{i}.png").write_bytes(png(i, (8 + i % 5, 8)))
    return root


def write_shard(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    return path


def write_plan(folder: Path, **entries: Any) -> Path:
    plan = {"pictures": "pictures", "rewards": ["jpeg-compressibility"], "output": "out", "top_k": 3, "unit": 4}
    path = folder / "plan.json"
    path.write_text(json.dumps({**plan, **entries}))
    return path

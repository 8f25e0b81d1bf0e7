"""What lies in a ComfyUI `models` folder, and which of it is an official file."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.comfy.locate import ROOT

PUBLISHED = ROOT / "tests" / "official" / "published.tsv"
_PIECE = 2**22


@dataclass(frozen=True)
class Published:
    """One line of tests/official/published.tsv; `size` 0 and `sha256` empty where they are not known."""

    repository: str
    file: str
    size: int
    sha256: str


@cache
def published() -> tuple[Published, ...]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return tuple(Published(r["repository"], r["file"], int(r["bytes"] or 0), r["sha256"]) for r in rows)


def places(folder: Path) -> Iterator[Path]:
    """Every folder and file below, sub-folders and linked ones too, each folder once, in the order of names."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Path(here)
        yield from (Path(here) / name for name in sorted(files))


def named(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first file, or folder with a config.json, of one of these names, best name first."""
    there: dict[str, Path] = {}
    for place in places(folder):
        if place.is_file() or (place / "config.json").is_file():
            there.setdefault(place.name, place)
    return next((there[name] for name in names if name in there), None)


def diffusers_folders(models: Path, *classes: str) -> list[Path]:
    """Return the folders in models/diffusers whose model_index.json names one of these pipelines."""
    found = []
    for place in places(models / "diffusers"):
        if place.name == "model_index.json":
            try:
                index = json.loads(place.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                index = {}
            if isinstance(index, dict) and index.get("_class_name") in classes:
                found.append(place.parent)
    return found


def weight_files(path: Path) -> list[Path]:
    """Return the weights that a subject consists of: itself, or what lies in its folder."""
    if path.is_file():
        return [path]
    endings = (".safetensors", ".bin", ".pt", ".pth")
    return [place for place in places(path) if place.is_file() and place.name.endswith(endings)]


def origin(path: Path, subject: Path) -> str:
    """Return in words what a weight file is: name, size, the beginning of its sha256, and whether it is official."""
    digest, size = sha256(path), path.stat().st_size
    inside = path.relative_to(subject).as_posix() if subject.is_dir() else path.name
    words = f"{inside}, {size:,} bytes, sha256 {digest[:12]}"
    lines = [p for p in published() if p.file == inside and (subject.is_file() or _is_repository(p, subject))]
    if any(line.sha256 == digest for line in lines):
        return f"{words}: the official file of {next(p.repository for p in lines if p.sha256 == digest)}"
    known = [line for line in lines if line.sha256]
    if known:
        return f"{words}: NOT the official file ({known[0].repository} has sha256 {known[0].sha256[:12]})"
    return f"{words}: no published sha256 is known here to compare with"


def _is_repository(line: Published, subject: Path) -> bool:
    return line.repository.rpartition("/")[2].lower() == subject.name.lower()


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes, read in pieces."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()

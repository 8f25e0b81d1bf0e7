"""The table on the screen, and the Markdown report to paste into an issue."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.comfy.locate import ROOT

from .check import FAILED, NOT_FOUND, Result, Settings

_PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "peft", "safetensors", "Pillow", "numpy")


def line(result: Result) -> str:
    """Return a result as one line of the table on the screen."""
    head = f"{result.status:<12} {result.check:<22} {result.seconds:6.0f} s  {result.subject}"
    words = [result.figure] if result.figure else []
    words += [note for note in result.notes if result.status != NOT_FOUND]
    strange = [file for file in result.files if "NOT the official" in file]
    return "\n".join([head, *(f"{'':13}{word}" for word in [*words, *strange])])


def summary(results: Sequence[Result]) -> str:
    counted = Counter(result.status for result in results)
    return ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))


def hardware(settings: Settings) -> list[str]:
    """Return what it ran on, a line each."""
    import psutil

    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory"
    lines = [f"{platform.system()} {platform.machine()}, {_processor()}, {psutil.cpu_count()} cores, {memory}"]
    if settings.device.startswith("cuda"):
        import torch

        about = torch.cuda.get_device_properties(settings.device)
        lines.append(f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    return lines


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "an unnamed processor"


def versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return found


def commit() -> str:
    """Return the commit of this clone, with a plus where files are changed; "unknown" without git."""
    try:
        asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain"]]
        name, changed = (
            subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
            for words in asked
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return name + (" with changes" if changed else "")


def markdown(results: Sequence[Result], settings: Settings, others: Sequence[str]) -> str:
    """Return the report."""
    lines = ["## Tastemaker with real weights", "", summary(results), ""]
    lines += [f"- {words}" for words in hardware(settings)]
    lines += [f"- device {settings.device}, {settings.dtype}", f"- {', '.join(versions())}", f"- commit {commit()}", ""]
    lines += ["| result | check | model | difference | seconds |", "|---|---|---|---|---|"]
    lines += [_row(result) for result in results]
    lines += ["", "### Files", "", *(f"- {_cell(r.subject)}: {_cell(file)}" for r in results for file in r.files)]
    lines += ["", "### Notes", ""]
    lines += [f"- {r.check}, {_cell(r.subject)}: {_cell(note)}" for r in results for note in r.notes]
    if others:
        lines += ["", f"Not of a kind that is checked: {', '.join(map(_cell, others))}"]
    for result in results:
        if result.status == FAILED and result.details:
            text = result.details.strip().replace(str(settings.models), "MODELS").replace("```", "'''")
            lines += ["", f"### {result.check}, {_cell(result.subject)}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def _row(result: Result) -> str:
    status = f"**{result.status}**" if result.status == FAILED else result.status
    cells = (status, result.check, _cell(result.subject), result.figure, f"{result.seconds:.0f}")
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Keep names of files on one line and inside their cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")

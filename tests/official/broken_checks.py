"""Checks that fail in every way, for the runner of scripts/acceptance: importable from its other process."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.acceptance.check import Measured, Settings


def dies(path: Path, settings: Settings) -> Measured:
    os._exit(9)


def raises(path: Path, settings: Settings) -> Measured:
    raise ValueError(f"what is wrong with {path.name}")


def passes(path: Path, settings: Settings) -> Measured:
    return Measured(0.0, 1.0, "")


def everything(models: Path) -> list[Path]:
    return [models / "a.bin"]


def unreadable(models: Path) -> list[Path]:
    raise OSError("no such disk")

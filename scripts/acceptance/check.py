"""What a check is, and the words for what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, NOT_FOUND, NO_REFERENCE = "passed", "failed", "not found", "no reference"


@dataclass(frozen=True)
class Settings:
    """Where the models are and what they run on. Paths and words only: it travels to another process."""

    models: Path
    device: str = "cpu"
    dtype: str = "float32"
    spare: bool = False  # keep weights in float16 while they compute in float32, whatever room there is


@dataclass(frozen=True)
class Measured:
    """What a check found.

    Attributes:
        figure: the largest difference found, in units of `unit`.
        tolerance: the largest that passes; None where there was nothing to compare with, and `notes` say why.
        unit: of both.
        wrong: what else is wrong, in words; empty for nothing.
        notes: what a reader should know.
    """

    figure: float | None
    tolerance: float | None
    unit: str
    wrong: str = ""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        if self.wrong:
            return FAILED
        if self.tolerance is None:
            return NO_REFERENCE
        return PASSED if self.figure is not None and self.figure <= self.tolerance else FAILED  # NaN is not <=


@dataclass(frozen=True)
class Check:
    """One line of the registry.

    Attributes:
        name: shown in the table.
        compares: what with what, in words.
        find: the files or folders in a models folder that it is about, each checked by itself.
        wanted: what is looked for, for the line "not found".
        run: one of those, measured; it runs in a process of its own.
    """

    name: str
    compares: str
    find: Callable[[Path], Sequence[Path]]
    wanted: str
    run: Callable[[Path, Settings], Measured]


@dataclass(frozen=True)
class Result:
    """One row of the report."""

    check: str
    subject: str
    status: str
    figure: str = ""
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    details: str = ""

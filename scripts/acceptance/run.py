"""Running the checks, each in a process of its own: one that fails or runs out of memory ends no other."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from .check import FAILED, NOT_FOUND, Check, Measured, Result, Settings
from .found import origin, weight_files

_LARGE = 500_000_000  # bytes after which a process is given up, so that all its memory is free again
_KILLED = (
    "the process ended without a word: most often the system had no memory left. Close other programs, or try "
    "--dtype float16"
)


class Workers:
    """One process at a time, begun anew after large models and after one that died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def run(self, check: Check, path: Path, settings: Settings) -> tuple[Measured | None, str]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(measured, check, path, settings).result()
        except BrokenProcessPool:
            self.close()
            return None, _KILLED

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None


def measured(check: Check, path: Path, settings: Settings) -> tuple[Measured | None, str]:
    """Run one check; (None, what it raised) for one that raises. Runs in the other process."""
    from .pipelines import free

    exact()
    quiet()
    try:
        return check.run(path, settings), ""
    except MemoryError:
        return None, "out of memory"
    except Exception:  # whatever a check raises is its result, and the others go on
        return None, traceback.format_exc()
    finally:
        free()


def exact() -> None:
    """Compute float32 in float32 on a GPU too: TF32 has 10 bits."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def quiet() -> None:
    """Leave the terminal to the table: what other libraries remark while they load is no result."""
    import warnings

    import diffusers
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def results(checks: Sequence[Check], settings: Settings, workers: Workers) -> Iterator[Result]:
    """Run every check on everything it finds; a row for each."""
    for check in checks:
        try:
            found = list(check.find(settings.models))
        except Exception as e:  # a folder that cannot be read is this check's failure
            yield Result(check.name, "", FAILED, details=f"looking for it: {type(e).__name__}: {e}")
            continue
        if not found:
            yield Result(check.name, check.wanted, NOT_FOUND)
        for path in found:
            yield result(check, path, settings, workers)


def result(check: Check, path: Path, settings: Settings, workers: Workers) -> Result:
    subject = path.relative_to(settings.models).as_posix()
    began = time.monotonic()
    found, raised = workers.run(check, path, settings)
    seconds = time.monotonic() - began
    try:
        weights = weight_files(path)
        files = tuple(origin(file, path) for file in weights)
        if sum(file.stat().st_size for file in weights) > _LARGE:
            workers.close()
    except OSError as e:
        files = (f"cannot be read: {e}",)
    if found is None:
        return Result(check.name, subject, FAILED, "", seconds, files, (last_line(raised),), raised)
    notes = (found.wrong, *found.notes) if found.wrong else found.notes
    return Result(check.name, subject, found.status, in_words(found), seconds, files, notes)


def last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def in_words(found: Measured) -> str:
    if found.figure is None or found.tolerance is None:
        return ""
    return f"{found.figure:.2g} (at most {found.tolerance:g}) {found.unit}"

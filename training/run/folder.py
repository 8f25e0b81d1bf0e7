"""A run's folder: what a run leaves on disk, and what it resumes from.

    config.json            the run's settings; checked on resume
    metrics.jsonl          one line an epoch
    checkpoints/           the newest two
    lora.safetensors       the LoRA as of the last checkpoint, in kohya's keys
    samples/               sample grids at fixed prompts and seeds
    tensorboard/           the same figures, where tensorboard is installed
    run.lock               held by the process at work

Every file is written beside its name and renamed; only metrics.jsonl grows, and is cut back on resume.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL import Image

from ...core.errors import InputError, ModelFileError
from ...core.files import append_own, check_real, own_folder, read_own, sweep, unwritable, write_atomic
from ...core.runs import first_difference, kept_identity, locked, not_written, writing
from ...loaders.model import DiffusionModel
from ..config import FineTuneConfig, identity
from .checkpoint import Checkpoint, newest_checkpoint, save_checkpoint, write_safetensors
from .report import EpochReport

log = logging.getLogger(__name__)

MAX_METRICS_BYTES = 2**28  # a line has about a kilobyte, and a run at most some 100,000 epochs


class RunFolder:
    """Hold a run's folder, opened by one process at a time.

    Args:
        path: the folder; made if it is not there.
        identity: what must be the same for a run to go on: settings, model, rewards, prompts.
        config: all that is written to config.json beside it.

    Raises:
        InputError: the folder cannot be written, another process is at work in it, or it holds a run of
            another model, reward, prompts or settings, naming the first that differs.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self.path = Path(os.path.realpath(path))  # from here on no link in it is followed
        self._checkpoints, self._samples = self.path / "checkpoints", self.path / "samples"
        self._board: Any = None
        try:
            for folder in (self.path, self._checkpoints, self._samples):
                own_folder(folder)
            self._lock: ExitStack | None = locked(self.path / "run.lock")
        except OSError as e:
            raise not_written(Path(e.filename or self.path), e) from e
        try:
            self._sweep()
            self._check_identity(json.loads(json.dumps(identity)), config)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others open the folder."""
        if self._board is not None:
            self._board.close()
        if self._lock is not None:
            self._lock.close()  # which unlocks it
        self._board = self._lock = None

    def _sweep(self) -> None:
        """Remove what a kill in the middle of writing has left. Only the holder of the lock gets here."""
        for folder in (self.path, self._checkpoints, self._samples):
            sweep(folder, older=0, ending=".part")

    def _check_identity(self, identity: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        path = self.path / "config.json"
        try:
            found = kept_identity(path)
        except ValueError as e:
            raise ModelFileError(f"{path.name} of the run {self.path.name} {e}: give the run another name.") from e
        odd = "" if found is None else first_difference(_with_defaults(found, identity), identity)
        if odd:
            raise InputError(
                "run_folder",
                self.path.name,
                f"It holds a run with another {odd}. Give this run another name, or set that back.",
            )
        self._write(path, json.dumps({"identity": identity, **config}, indent=2, allow_nan=False).encode())

    def _write(self, path: Path, data: bytes) -> None:
        with writing(path):
            check_real(path.parent)
            write_atomic(path, data)

    # --- to resume ------------------------------------------------------------------------------

    def resume(self) -> tuple[Checkpoint | None, list[EpochReport], str]:
        """Return the newest checkpoint, the reports up to it, and what to say of a checkpoint that is damaged.

        Later lines of metrics.jsonl are cut off; epochs after the checkpoint are run again, with the same result.
        """
        checkpoint, remark = newest_checkpoint(self._checkpoints)
        done = checkpoint.epoch if checkpoint else 0
        path = self.path / "metrics.jsonl"
        try:
            lines = read_own(path, MAX_METRICS_BYTES).decode(errors="replace").splitlines() if path.exists() else []
        except OSError as e:
            raise ModelFileError(
                f"{path.name} of the run {self.path.name} cannot be read ({unwritable(e)}). Move it away."
            ) from e
        reports: list[EpochReport] = []
        for line in lines:
            try:
                report = EpochReport.from_record(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError):
                break  # a line that a kill cut short, or somebody changed
            if report.epoch > done:
                break
            reports.append(report)
        if len(reports) < done:
            log.warning("metrics.jsonl of %s lacks epochs before %d: curves will have a gap.", self.path.name, done)
        self._write(path, "".join(_line(report) for report in reports).encode())
        self._board = self._tensorboard(done)
        return checkpoint, reports, remark

    def _tensorboard(self, done: int) -> Any:
        """Return a writer where tensorboard is installed, else None."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        folder = self.path / "tensorboard"
        with writing(folder):
            return SummaryWriter(str(own_folder(folder)), purge_step=done + 1)

    # --- while it runs --------------------------------------------------------------------------

    def log(self, report: EpochReport) -> None:
        """Add an epoch's line, and its sample grid where there is one."""
        path = self.path / "metrics.jsonl"
        with writing(path):
            append_own(path, _line(report).encode())
        if report.grid is not None:
            self.save_grid(report.epoch, report.grid)
        if self._board is not None:
            for name, value in flat_numbers(report.record()).items():
                self._board.add_scalar(name, value, report.epoch)
            self._board.flush()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and remove all but the newest two."""
        save_checkpoint(self._checkpoints, checkpoint)

    def save_lora(self, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
        """Write lora.safetensors in kohya's keys."""
        write_safetensors(self.path / "lora.safetensors", state, metadata)

    def save_grid(self, epoch: int, images: torch.Tensor) -> None:
        """Write samples/epoch-NNNNNN.png from (B, H, W, 3) in [0, 1]."""
        data = io.BytesIO()
        picture = (grid(images) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(picture).save(data, "PNG")
        self._write(self._samples / f"epoch-{epoch:06d}.png", data.getvalue())


def grid(images: torch.Tensor) -> torch.Tensor:
    """Put pictures side by side, (B, H, W, 3) to (rows H, columns W, 3): few places empty, then near to a square.

    What stays empty is dark.
    """
    least = math.ceil(math.sqrt(len(images)))
    columns = min(range(least, 2 * least), key=lambda columns: -len(images) % columns)
    empty = torch.full((-len(images) % columns, *images.shape[1:]), 0.12)
    return rearrange(torch.cat([images, empty]), "(r c) h w k -> (r h) (c w) k", c=columns)


def _with_defaults(found: Any, wanted: Mapping[str, Any]) -> Any:
    """Fill in wanted settings that the version which made the folder did not have: it ran as their defaults do."""
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        return found
    newer = {k: v for k, v in identity(FineTuneConfig()).items() if k in wanted.get("settings", {})}
    return {**found, "settings": {**newer, **found["settings"]}}


def flat_numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the finite numbers of a nested record by path."""
    found: dict[str, float] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= flat_numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            found[f"{prefix}{key}"] = float(value)
    return found


def _line(report: EpochReport) -> str:
    return json.dumps(report.record(), allow_nan=False) + "\n"


def lora_metadata(model: DiffusionModel, config: FineTuneConfig, epoch: int) -> dict[str, str]:
    """Return what a LoRA file says about itself, in the keys that trainers and hosts read."""
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(config.rank),
        "ss_network_alpha": f"{config.lora_alpha:g}",
        "ss_output_name": "lora",
        "ss_learning_rate": f"{config.learning_rate:g}",
        "tastemaker.base_model": model.name,
        "tastemaker.base_fingerprint": model.fingerprint,
        "tastemaker.epoch": str(epoch),
    }
    if model.conditional:
        metadata["ss_base_model_version"] = "sdxl_base_v1-0"
    return metadata


def algorithm_of(path: Path) -> str:
    """Return the algorithm that a run's folder says it was begun with; empty where there is no such run."""
    try:
        found = kept_identity(Path(os.path.realpath(path)) / "config.json")
    except (OSError, ValueError):
        return ""  # opening the folder says what is wrong
    settings = None if found is None else found.get("settings")
    if not isinstance(settings, dict):
        return ""
    algorithm = settings.get("algorithm", FineTuneConfig.algorithm)  # the first versions had one
    return algorithm if isinstance(algorithm, str) else ""

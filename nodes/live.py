"""A training run as the page shows it while it goes on: the progress bar, the curves, the sample grids."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..training.run.progress import EpochProgress
from . import host

if TYPE_CHECKING:
    from ..training import EpochReport, FineTune

EVENT = "tastemaker.training"  # web/training.js listens for it
_SHARES = {  # of an epoch's bar: from, width
    "before training": (0.0, 0.0),
    "sampling": (0.0, 0.3),
    "encoding": (0.0, 0.4),
    "scoring": (0.3, 0.1),
    "rehearsing": (0.4, 0.1),
    "learning": (0.5, 0.5),
}
_TICKS = 1000  # of the bar, an epoch
_GRIDS = f"epoch-{'[0-9]' * 6}.png"  # people put copies beside them
_PAUSE = 0.5  # seconds between messages within an epoch


class LiveRun(EpochProgress):
    """Show the page where a run stands. Every advance is also where a cancel takes effect."""

    def __init__(self, node: str | None, epochs: int, folder: Path) -> None:
        self._node, self._epochs, self._folder = node, epochs, folder
        self._bar, self._ticks = host.HostProgress(), 0
        self._bar.phase("training", epochs * _TICKS)
        self._next = 0.0
        self._left: float | None = None
        self._epoch, self._phase, self._done, self._total = 1, "", 0, 0

    def start(self, run: FineTune) -> None:
        """Show what there is of a run that goes on."""
        self._send("going on" if run.reports else "starting", run.epoch, run)

    def epoch(self, number: int, epochs: int, seconds_left: float | None) -> None:
        self._epoch, self._left = number, seconds_left

    def phase(self, name: str, total: int) -> None:
        self._phase, self._done, self._total = name, 0, total

    def advance(self, count: int = 1) -> None:
        self._done += count
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Move the bar, which may raise the cancel, and send a message now and then."""
        first, width = _SHARES.get(self._phase, (1.0, 0.0))
        share = first + width * self._done / max(1, self._total)
        ticks = int((self._epoch - 1 + min(share, 1.0)) * _TICKS)
        self._bar.advance(ticks - self._ticks)
        self._ticks = ticks
        if time.monotonic() >= self._next:
            self._send(f"{self._phase} {self._done} of {self._total}", self._epoch)

    def learned(self, run: FineTune, report: EpochReport) -> None:
        """Show what an epoch that was finished adds to the curves."""
        self._send(report.note or "learned", report.epoch, run, since=report.epoch - 1)

    def final(self, run: FineTune) -> dict[str, Any]:
        """Return what the node shows when it is done, and again when its result comes from the host's cache."""
        self._left = None
        message = self._message(run.stopped or "done", run.epoch, run)
        host.tell_page(EVENT, message)
        return {"tastemaker_training": [message]}

    def trained(self, run: FineTune) -> io.NodeOutput:
        """Train a run to its end; return what the node gives out."""
        with run:
            self.start(run)
            for report in run:
                self.learned(run, report)
        loss = {"loss": [report.figures.get("loss", math.nan) for report in run.reports]}
        lora = run.lora_state() if run.config.train == "lora" else host.blocked("A full fine-tune has no LoRA.")
        return io.NodeOutput(run.model, lora, loss, tuple(run.reports), ui=self.final(run))

    def _send(self, state: str, epoch: int, run: FineTune | None = None, since: int = 0) -> None:
        host.tell_page(EVENT, self._message(state, epoch, run, since))
        self._next = time.monotonic() + _PAUSE

    def _message(self, state: str, epoch: int, run: FineTune | None, since: int = 0) -> dict[str, Any]:
        """Say where a run stands; of its epochs those after `since`, so that a run of n sends n rows, not n^2 / 2.

        A page that has not heard of the earlier ones finds them in the file `log`.
        """
        message: dict[str, Any] = {"node": self._node, "state": state, "epoch": epoch, "epochs": self._epochs}
        message["seconds_left"] = self._left
        if run is not None:
            message["since"] = since
            message["rows"] = [report.record() for report in run.reports[since:]]
            message["figures"] = [figure._asdict() for figure in run.algorithm.figures if figure.title]
            message["grids"] = [_grid(path) for path in self._grids(since)]
            message["log"] = host.saved_entry(self._folder / "metrics.jsonl")
        return message

    def _grids(self, since: int) -> list[Path]:
        """Return the sample grids of epochs after `since`; with 0 those from before training too."""
        folder = self._folder / "samples"
        if not since:
            return sorted(folder.glob(_GRIDS))
        newest = folder / f"epoch-{since + 1:06d}.png"
        return [newest] if newest.exists() else []


def _grid(path: Path) -> dict[str, Any]:
    return {"epoch": int(path.stem.removeprefix("epoch-")), "entry": host.saved_entry(path)}

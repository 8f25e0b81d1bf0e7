"""A grid as the page shows it while its pictures are made, and when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import TastemakerError
from ..core.texts import shortened
from ..images.thumbnails import THUMBNAIL_SIDE, VIEW_SIDE, preview
from . import host

if TYPE_CHECKING:
    from PIL import Image

    from ..images.pictures import PictureFile
    from ..search.grid.means import Mean
    from ..search.grid.plan import Plan
    from ..search.grid.run import Grid

EVENT = "tastemaker.grid"  # web/grid.js listens for it
_PAUSE = 0.4  # seconds between two messages
_TELLING = 5.0  # seconds until the time left is told
_MAX_PROMPT = 500


class LiveGrid(host.HostProgress):
    """The progress of a grid: the bar, the cancel, and each picture on the page as soon as it is there."""

    def __init__(self, node: str | None, plan: Plan, folder: Path) -> None:
        super().__init__()
        self._node, self._plan, self._folder = node, plan, folder
        self._entries: dict[int, dict[str, Any]] = {}
        self._waiting: list[int] = []
        self._next_message = 0.0
        self._phase, self._began = "", 0.0
        host.tell_page(EVENT, {**self._frame(), "state": "starting", "made": []})

    def phase(self, name: str, total: int) -> None:
        self._phase, self._began = name, time.monotonic()
        self._send_made()
        super().phase(name, total)

    def advance(self, count: int = 1) -> None:
        super().advance(count)
        if self._waiting and time.monotonic() >= self._next_message:  # the rest of a cell, while the next is made
            self._send_made()

    def preview(self, make: Callable[[], Image.Image]) -> None:
        self.check_cancelled()  # the cells themselves are what is shown

    def made(self, i: int, file: PictureFile) -> None:
        """Take a picture that is there: what `run_grid` tells."""
        self._entries[i] = self._entry(file)
        self._waiting.append(i)
        if time.monotonic() >= self._next_message:
            self._send_made()

    def final(self, grid: Grid, report: str, sheets: list[dict[str, str]]) -> dict[str, Any]:
        """Return what the node shows when it is done, and again when its result comes from the host's cache."""
        found = grid.means
        total = len(self._plan.shots)
        message = {
            **self._frame(),
            "state": _said(total, grid.sampled),
            "made": [[i, self._entries[i]] for i in range(total)],
            "scores": grid.table.scores[grid.table.main].tolist(),
            "main": grid.table.main,
            "cells": _figures(found.cells),
            "margins": [_figures(one) for one in (found.columns, found.rows, found.pages)],
            "best": found.best,
            "best_words": self._plan.words(found.best),
            "report": report,
            "note": grid.note,
            "sheets": sheets,
        }
        host.tell_page(EVENT, message)
        return {"tastemaker_grid": [message], "tastemaker_sheet": sheets}

    def _frame(self) -> dict[str, Any]:
        """Return what is known before the first picture."""
        prompts = list(dict.fromkeys(shot.prompt for shot in self._plan.shots))
        return {
            "node": self._node,
            "axes": [{"setting": axis.setting, "labels": list(axis.labels)} for axis in self._plan.axes],
            "variants": [shortened(one, _MAX_PROMPT) for one in self._plan.variants],
            "prompts": [shortened(one, _MAX_PROMPT) for one in prompts],
            "shots": [[prompts.index(shot.prompt), str(shot.seed)] for shot in self._plan.shots],
        }

    def _send_made(self) -> None:
        count = f"{len(self._entries)} of {len(self._plan.shots)} pictures"
        state = f"{self._phase or 'looking for pictures'}: {count}{self._time_left()}"
        message = {"node": self._node, "state": state, "made": [[i, self._entries[i]] for i in self._waiting]}
        host.tell_page(EVENT, message)
        self._waiting, self._next_message = [], time.monotonic() + _PAUSE

    def _time_left(self) -> str:
        """Say how long the sampling will go on, once that can be told."""
        spent = time.monotonic() - self._began
        if self._phase != "sampling" or spent < _TELLING or not 0 < self._done < self._total:
            return ""
        left = spent * (self._total - self._done) / self._done
        return f", {left / 60:.0f} min left" if left >= 90 else f", {left:.0f} s left"

    def _entry(self, file: PictureFile) -> dict[str, Any]:
        """Return where the page finds a picture: `thumb`, and `view`, a larger copy where it is larger."""
        stem = file.name.removesuffix(".png")
        try:
            thumb = host.temp_picture(f"cell_{stem}_{THUMBNAIL_SIDE}", self._copy(file, THUMBNAIL_SIDE))
            large = max(file.height, file.width) > THUMBNAIL_SIDE
            view = host.temp_picture(f"cell_{stem}_{VIEW_SIDE}", self._copy(file, VIEW_SIDE)) if large else thumb
        except TastemakerError:  # it is gone again, or the temp folder is full: the sheet has it, or says so
            return {"thumb": None, "view": None}
        return {"thumb": thumb, "view": view}

    def _copy(self, file: PictureFile, side: int) -> Callable[[], tuple[bytes, str]]:
        def make() -> tuple[bytes, str]:
            from ..images.decode import decode_file

            picture: Image.Image = decode_file(self._folder / file.name)
            return preview(picture, side)

        return make


def _said(total: int, sampled: int) -> str:
    if not 0 < sampled < total:
        return f"{total} pictures, {'all of them new' if sampled else 'all of them made before'}"
    return f"{total} pictures, {sampled} of them new"


def _figures(found: tuple[Mean, ...]) -> list[list[float | None]]:
    return [[mean.value, mean.reach] for mean in found]

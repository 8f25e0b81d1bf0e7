"""The library's `Progress` as ComfyUI's: the bar on the node, its live preview, and the cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

_PREVIEW_SIDE = 512
_PREVIEW_SHARE, _PREVIEW_PAUSE = 0.1, 0.25  # of the time goes into previews at most; seconds between two


class HostProgress(Progress):
    """The progress of the node that runs. A cancel takes effect in every call.

    `pause` is the least time in seconds between two messages of a phase: each costs more than a small file.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self._pause, self._total, self._done = pause, 1, 0
        self._next, self._next_preview = 0.0, 0.0

    def phase(self, name: str, total: int) -> None:
        self._total, self._done, self._next = max(1, total), 0, 0.0
        self._show()

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._show()

    def preview(self, make: Callable[[], Image.Image]) -> None:
        self.check_cancelled()
        began = time.monotonic()
        if began < self._next_preview:
            return
        self._send(("JPEG", make(), _PREVIEW_SIDE))
        cost = time.monotonic() - began
        self._next_preview = time.monotonic() + max(cost / _PREVIEW_SHARE, _PREVIEW_PAUSE)

    def check_cancelled(self) -> None:
        import comfy.model_management as memory

        memory.throw_exception_if_processing_interrupted()

    def _show(self) -> None:
        self.check_cancelled()
        now = time.monotonic()
        if now >= self._next or self._done >= self._total:
            self._next = now + self._pause
            self._send(None)

    def _send(self, preview: tuple[str, Image.Image, int] | None) -> None:
        from comfy.utils import ProgressBar

        ProgressBar(self._total).update_absolute(min(self._done, self._total), self._total, preview)

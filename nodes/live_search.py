"""A search as the page shows it while it runs: a family tree of pictures, and the report at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import TastemakerError
from ..core.texts import shortened
from ..images.thumbnails import preview
from . import host

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..search.task import Look

EVENT = "tastemaker.search"  # web/search.js listens for it
SIDE = 96  # pixels of a picture in the tree
MOST = 48  # pictures of one look that are shown
MOST_LOOKS = 40  # of one prompt
_MAX_PROMPT = 300


class LiveSearch(host.HostProgress):
    """The progress of a search: the bar, the cancel, and each look at its pictures."""

    def __init__(self, node: str | None, prompts: Sequence[str]) -> None:
        super().__init__()
        self._node, self._prompts = node, [shortened(one, _MAX_PROMPT) for one in prompts]
        self._looks: list[list[dict[str, Any]]] = [[] for _ in prompts]
        self._tell({"state": "starting"})

    def preview(self, make: Callable[[], Image.Image]) -> None:
        self.check_cancelled()  # the tree is what is shown

    def look(self, prompt: int, look: Look) -> None:
        """Show one look at a prompt's pictures: what `search` tells."""
        if len(self._looks[prompt]) >= MOST_LOOKS:
            return
        count = min(MOST, len(look.images))
        row = {
            "step": look.step,
            "steps": look.steps,
            "first": look.first,
            "more": len(look.images) - count,
            "scores": [round(score, 4) for score in look.scores[:count].tolist()],
            "parents": list(look.parents[:count]),
            "alive": list(look.alive[:count]),
            "pictures": [self._entry(picture) for picture in look.images[:count]],
        }
        self._looks[prompt].append(row)
        done = "finished pictures" if look.step == look.steps else f"step {look.step} of {look.steps}"
        of = f"prompt {prompt + 1} of {len(self._prompts)}, " if len(self._prompts) > 1 else ""
        self._tell({"state": f"{of}{done}", "prompt": prompt, "look": row})

    def final(self, report: str) -> dict[str, Any]:
        """Return what the node shows when it is done, and again when its result comes from the host's cache."""
        message = {"node": self._node, "state": "done", "prompts": self._prompts, "looks": self._looks}
        message["report"] = report
        host.tell_page(EVENT, message)
        return {"tastemaker_search": [message]}

    def _tell(self, message: dict[str, Any]) -> None:
        host.tell_page(EVENT, {"node": self._node, "prompts": self._prompts, **message})

    def _entry(self, picture: torch.Tensor) -> dict[str, str] | None:
        """Write a small copy and say where the page finds it; None where the temp folder is full."""
        data, ending = preview(picture, SIDE)
        try:
            return host.temp_picture(f"look_{hashlib.sha256(data).hexdigest()[:24]}", lambda: (data, ending))
        except TastemakerError:  # the pictures themselves are what counts
            return None

"""Pictures as batches for the host: one where they are of one size, else the way the user chose."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps

from ..core.errors import InputError
from ..core.progress import Progress
from .convert import to_pil
from .limits import SIZES
from .pictures import Pictures, picture_of, stacked

MAX_ALONE = 512  # whatever comes behind them runs once for each
MAX_BATCH_BYTES = 2**30  # of pictures that are read from files for it


def batches(
    pictures: Pictures,
    sizes: str = "each",
    *,
    limit: int = MAX_BATCH_BYTES,
    progress: Progress | None = None,
) -> list[torch.Tensor]:
    """Make batches of all pictures, in their order: float32 (B, H, W, 3); one where all are of one size.

    Args:
        sizes: for those of several sizes: `"each"` (and `"block"`, its old name) makes a batch of each picture; `"pad"`
            fits all into the first one's size with black borders, `"crop"` fills that and cuts the overflow. Those of
            the first one's size are never touched.
        limit: bytes that pictures from files may take.
        progress: counts the files read; what it raises stops the reading.

    Raises:
        InputError: an unknown choice; too many or too large pictures; a file cannot be read.
    """
    if sizes not in SIZES:
        raise InputError("sizes", sizes, f"Pick one of {', '.join(SIZES)}.")
    whole = pictures.batch()
    if whole is not None:
        return [whole]
    each = [pictures.size(i) for i in range(len(pictures))]
    height, width = each[0]
    alone = sizes in ("each", "block") and any(size != each[0] for size in each)
    if alone and len(pictures) > MAX_ALONE:
        advice = f"At most {MAX_ALONE} of several sizes go on one by one; keep fewer with top_k."
        raise InputError("images", f"{len(pictures):,} pictures", advice)
    needed = sum(12 * h * w for h, w in each) if alone else 12 * len(pictures) * height * width
    if needed > limit:
        found = f"{len(pictures):,} pictures, {needed / 2**30:.1f} GiB"
        raise InputError(
            "images",
            found,
            f"IMAGE outputs of pictures from files hold at most {limit / 2**30:.1f} GiB; the scores output takes any "
            "number.",
        )
    if alone:
        return _each(pictures, progress or Progress())
    fit = None if all(size == each[0] for size in each) else lambda picture: fitted(picture, width, height, sizes)
    return [stacked(pictures, progress, fit)]


def _each(pictures: Pictures, progress: Progress) -> list[torch.Tensor]:
    """Make a batch of each picture."""
    progress.phase("reading", len(pictures))
    found = []
    for i in range(len(pictures)):
        found.append(picture_of(pictures, i)[None])
        progress.advance()
    return found


def fitted(picture: torch.Tensor, width: int, height: int, sizes: str) -> torch.Tensor:
    """Fit one picture (H, W, 3) in [0, 1] into (height, width, 3), padded or cropped (Lanczos, 8 bits)."""
    if picture.shape[:2] == (height, width):
        return picture
    method = ImageOps.pad if sizes == "pad" else ImageOps.fit
    resized = method(to_pil(picture), (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255)

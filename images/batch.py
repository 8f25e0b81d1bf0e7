"""Pictures of several sizes as one batch, the way the user chose."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps

from ..core.errors import InputError
from ..core.progress import Progress
from .convert import to_pil
from .limits import SIZES
from .pictures import Pictures, stacked

MAX_BATCH_BYTES = 2**30  # of pictures that are read from files for it


def one_batch(
    pictures: Pictures,
    sizes: str = "block",
    *,
    limit: int = MAX_BATCH_BYTES,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Make one batch of all pictures: float32 (B, H, W, 3), H and W the first one's.

    Args:
        sizes: for those of another size: `"pad"` fits them in with black borders, `"crop"` fills the frame and cuts
            the overflow, `"block"` refuses them. Those of the first one's size are never touched.
        limit: bytes that pictures from files may take.
        progress: counts the files read; what it raises stops the reading.

    Raises:
        InputError: sizes differ and are to be refused; the batch would be too large; a file cannot be read.
    """
    if sizes not in SIZES:
        raise InputError("sizes", sizes, f"Pick one of {', '.join(SIZES)}.")
    whole = pictures.batch()
    if whole is not None:
        return whole
    height, width = pictures.size(0)
    needed = 12 * len(pictures) * height * width
    if needed > limit:
        found = f"{len(pictures):,} pictures, {needed / 2**30:.1f} GiB"
        raise InputError(
            "images",
            found,
            f"One IMAGE of pictures from files is at most {limit / 2**30:.1f} GiB; the scores output takes any number.",
        )
    fit = None if sizes == "block" else lambda picture: fitted(picture, width, height, sizes)
    return stacked(pictures, progress, fit)


def fitted(picture: torch.Tensor, width: int, height: int, sizes: str) -> torch.Tensor:
    """Fit one picture (H, W, 3) in [0, 1] into (height, width, 3), padded or cropped (Lanczos, 8 bits)."""
    if picture.shape[:2] == (height, width):
        return picture
    method = ImageOps.pad if sizes == "pad" else ImageOps.fit
    resized = method(to_pil(picture), (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255)

"""Several pictures at once, ours against diffusers."""

from __future__ import annotations

from .models import full_size
from .rows import GPU, Rows
from .sampling import shape

SHAPES = [(512, 16), (1024, 4), (256, 16), (512, 4), (256, 4)] if GPU else [(64, 2)]  # (pixels, pictures at once)


def measure(rows: Rows) -> None:
    model = full_size()
    for size, batch in SHAPES[:2] if rows.quick else SHAPES:
        shape(rows, model, size, batch)

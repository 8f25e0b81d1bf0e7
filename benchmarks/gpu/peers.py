"""diffusers compiled, as its own guides say: minutes of compilation, so the last section."""

from __future__ import annotations

import torch

from .models import full_size
from .rows import GPU, Rows, once, timed
from .sampling import STEPS, theirs


def measure(rows: Rows) -> None:
    model, size = full_size(), 1024 if GPU else 64
    for kind, seconds in (("blocks", 40), ("whole", 150)) if GPU else ():
        name = f"diffusers compiled, {kind}"
        if not rows.room(name, seconds):
            continue
        with rows.part(name):
            work = theirs(model, size, 1, compiled=kind, vae=torch.bfloat16)
            first = once(work)
            rows.row("sampling", way=name, size=size, batch=1, steps=STEPS, **timed(work, 5, 0) | {"first": first})
            del work

"""Measure on a GPU: `python -m benchmarks.gpu --out FOLDER [--sections ...] [--deadline SECONDS]`.

Sections run in the order given. Without a GPU every path runs once on the CPU with the tiny models, to try them.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import torch

from .rows import GPU, Rows, timed

SECTIONS = ("correct", "forward", "sampling", "learning", "scoring", "batches", "peers")


def describe(rows: Rows) -> None:
    """Write what the figures were measured on: the card, its measured ceilings, the versions."""
    import diffusers
    import transformers

    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers)}
    if not GPU:
        rows.row("machine", device="CPU", **versions)
        return
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b, big = a.T.contiguous(), torch.empty(2**31, device="cuda", dtype=torch.uint8)
    product, copied = timed(lambda: a @ b, 10, 3)["s"], timed(lambda: big.clone(), 5, 2)["s"]
    rows.row(
        "machine",
        device=torch.cuda.get_device_name(),
        memory_gb=memory,
        cudnn=torch.backends.cudnn.version(),
        tflops=2 * 8192**3 / product / 1e12,
        tb_per_s=2 * 2**31 / copied / 1e12,
        threads=torch.get_num_threads(),
        **versions,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--deadline", type=float, default=420.0, help="seconds after which no new part begins")
    parser.add_argument("--quick", action="store_true", help="only what is most wanted of each section")
    told = parser.parse_args()
    rows = Rows(told.out, told.deadline, quick=told.quick)
    with rows.part("machine"):
        describe(rows)
    for name in told.sections:
        if not rows.room(name):
            continue
        began = time.monotonic()
        with rows.part(name):
            importlib.import_module(f".{name}", __package__).measure(rows)
        rows.row("section", name=name, seconds=time.monotonic() - began)
        if GPU:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()

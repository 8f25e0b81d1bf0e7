"""Run the published checks on the real weights that lie in a ComfyUI models folder.

    python -m scripts.acceptance ComfyUI/models
    python -m scripts.acceptance ComfyUI/models --report report.md --only "ImageReward, ocean" --only FID

What is there is found in rewards, diffusers, checkpoints and loras, sub-folders too; what is not there is listed with
the name it is looked for. Nothing is downloaded. Exits with 1 where a check failed, with 2 where none could run.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.acceptance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, help="the models folder of ComfyUI")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; the GPU where there is one")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="what networks compute in")
    spare = "keep weights in float16 while they compute in float32, as is done where memory is short"
    parser.add_argument("--spare-memory", action="store_true", help=spare)
    parser.add_argument("--report", type=Path, default=Path("acceptance.md"), help="a Markdown file (acceptance.md)")
    parser.add_argument("--only", action="append", help="a check by name; may be given several times")
    return parser.parse_args(given)


def models_folder(given: Path) -> Path:
    """Return the models folder; a ComfyUI folder stands for the one in it."""
    folder = given / "models" if (given / "models").is_dir() else given
    kinds = ("rewards", "diffusers", "checkpoints", "loras")
    if not any((folder / kind).is_dir() for kind in kinds):
        sys.exit(f"{given} holds none of {', '.join(kinds)}. Give the models folder of ComfyUI.")
    return folder.resolve()


def device_of(given: str | None) -> str:
    import torch

    device = given or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as e:
        sys.exit(f"--device {device} cannot be used: {str(e).splitlines()[0]}")
    return device


def main(given: list[str] | None = None) -> int:
    options = arguments(given)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may need the network; the other process takes it over
    try:
        import tastemaker  # noqa: F401
    except ImportError:
        sys.exit("The package tastemaker cannot be imported. Run `make acceptance`, or `pip install -e .` first.")
    from tastemaker.core.files import write_atomic

    from . import report
    from .check import FAILED, NOT_FOUND, Settings
    from .diffusion import other_checkpoints
    from .registry import CHECKS
    from .run import Workers, results

    unknown = set(options.only or ()) - {check.name for check in CHECKS}
    if unknown:
        sys.exit(f"--only {', '.join(sorted(unknown))}: the checks are {', '.join(check.name for check in CHECKS)}.")
    logging.basicConfig(level=logging.WARNING)
    if not options.report.resolve().parent.is_dir() or options.report.is_dir():
        sys.exit(f"--report {options.report} cannot be written: there is no such folder, or it is one.")
    folder, device = models_folder(options.models), device_of(options.device)
    settings = Settings(folder, device, options.dtype, options.spare_memory)
    chosen = [check for check in CHECKS if not options.only or check.name in options.only]
    workers, rows = Workers(), []
    try:
        for row in results(chosen, settings, workers):
            rows.append(row)
            print(report.line(row), flush=True)
    finally:
        workers.close()
        text = report.markdown(rows, settings, other_checkpoints(settings.models))
        write_atomic(options.report, text.encode())
    print(f"{report.summary(rows)}. The report for an issue: {options.report}")
    if any(row.status == FAILED for row in rows):
        return 1
    return 2 if all(row.status == NOT_FOUND for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

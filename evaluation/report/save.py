"""A report into its files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...core.files import sweep
from ...images.prompts import SHEET_KEY
from ..blocks import write_file
from ..result import Evaluation
from .content import Report, inert_markdown
from .page import report_page


def png(picture: Image.Image, kind: str) -> bytes:
    """Return a sheet as PNG, marked so that nobody ranks it as a picture."""
    about = PngInfo()
    about.add_text(SHEET_KEY, json.dumps({"kind": kind}))
    data = io.BytesIO()
    picture.save(data, "PNG", pnginfo=about)
    return data.getvalue()


def save_report(report: Report, evaluations: Sequence[Evaluation], folder: Path, stem: str = "report") -> list[Path]:
    """Write report.json, .md, .html, the chart and the sheets; returns what was written, the HTML file first."""
    folder = Path(os.path.realpath(folder))
    files = {
        folder / f"{stem}.html": report_page(report, evaluations).encode("utf-8"),
        folder / f"{stem}.json": json.dumps(report.record, indent=2, allow_nan=False).encode(),
        folder / f"{stem}.md": (inert_markdown(report.text) + "\n").encode("utf-8"),
        folder / f"{stem}_chart.png": png(report.chart, "chart"),
    }
    for number, (_, picture) in enumerate(report.sheets, 1):
        files[folder / f"{stem}_sheet_{number:02d}.png"] = png(picture, "best and worst")
    sweep(folder)
    for path, data in files.items():
        write_file(path, data)
    return list(files)

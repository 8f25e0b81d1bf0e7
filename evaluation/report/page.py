"""A report as one HTML file with everything inside it and nothing that runs.

Titles, prompts and categories come from strangers: `plots.html` escapes them, and its content security policy allows
one style and pictures in the file itself, no script.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ...plots.html import render
from ..fid.distance import Estimate
from ..measures import LOWER_IS_BETTER
from ..result import Evaluation
from ..settings import OVERALL
from .content import Report, report_notes, table_rows

_MAX_SIDE = 1600


def report_page(report: Report, evaluations: Sequence[Evaluation]) -> str:
    """Make the page. Pictures are JPEGs of at most 1600 pixels a side."""
    protocols = list(dict.fromkeys(e.protocol for e in evaluations if e.protocol))
    heading, rows = table_rows(evaluations)
    best = _best(evaluations, heading[3:])
    return render(
        "report.html",
        style="report.css",
        title=" and ".join(evaluation.title for evaluation in evaluations),
        protocols=", ".join(protocols) or "Evaluation",
        heading=heading,
        rows=[_row(*row, best=best) for row in rows],
        chart=_picture(report.chart, "PNG", "All figures with their intervals"),
        notes=report_notes(evaluations, report.pairs),
        sheets=[
            {"title": name, "picture": _picture(picture, "JPEG", f"Best and worst, {name}")}
            for name, picture in report.sheets
        ],
    )


def _row(section: str, model: str, count: str, *shown: str, best: set[tuple[str, str, int]]) -> dict[str, Any]:
    cells = []
    for i, text in enumerate(shown):
        value, _, interval = text.partition(" (")
        cells.append({"text": value, "interval": interval.rstrip(")"), "best": (section, model, i) in best})
    return {"section": section, "model": model, "count": count, "cells": cells, "overall": section == OVERALL}


def _best(evaluations: Sequence[Evaluation], headings: Sequence[str]) -> set[tuple[str, str, int]]:
    """Return (section, model, column) of the best value of each column, where several models have one.

    Diversity has no best; and what the intervals do not tell apart is not called better.
    """
    found: set[tuple[str, str, int]] = set()
    if len(evaluations) < 2:
        return found
    for column, heading in enumerate(headings):
        name = heading.removesuffix(" (lower is better)")
        if name == "diversity":
            continue
        sign = -1 if name in LOWER_IS_BETTER else 1
        for section in {s for e in evaluations for s in e.sections}:
            there = [(e.title, e.sections[section][name]) for e in evaluations if name in e.sections.get(section, {})]
            there.sort(key=lambda pair: sign * pair[1].value, reverse=True)
            if len(there) > 1 and _apart(there[0][1], there[1][1]):
                found.add((section, there[0][0], column))
    return found


def _apart(first: Estimate, second: Estimate) -> bool:
    """Whether two intervals do not meet; False where there is none."""
    return first.high < second.low or second.high < first.low


def _picture(picture: Image.Image, kind: str, text: str) -> dict[str, Any]:
    small = picture.copy()
    small.thumbnail((_MAX_SIDE, 8 * _MAX_SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, kind, **({"quality": 88} if kind == "JPEG" else {}))
    address = f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
    return {"text": text, "width": small.width, "height": small.height, "address": address}

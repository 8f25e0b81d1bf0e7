"""A report of one or several models: table, chart, contact sheets of the best and worst, JSON, and one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from PIL import Image

from ...core.errors import InputError
from ...core.groups import best_first
from ...plots.theme import BACKGROUND
from ...ranking.comparison import Difference, compare, in_words
from ...ranking.output.sheet import sheet
from ...ranking.table import ScoreTable
from ..fid.distance import Estimate
from ..measures import DIVERSITY, LOWER_IS_BETTER
from ..result import Evaluation
from .chart import chart, figures, sections

SHOWN = 8  # best, and as many worst, on a contact sheet


class Report(NamedTuple):
    """What a report is made of.

    Attributes:
        text: the table in Markdown, with notes.
        chart: all figures.
        sheets: (title, picture) of the best and worst by each reward of each model.
        record: JSON.
        pairs: differences of the first two models, where they were made from the same prompts and seeds.
    """

    text: str
    chart: Image.Image
    sheets: tuple[tuple[str, Image.Image], ...]
    record: dict[str, Any]
    pairs: tuple[Difference, ...]


def make_report(evaluations: Sequence[Evaluation]) -> Report:
    """Put together a report. Raises InputError for none, or for figures that were not measured alike."""
    if not evaluations or not figures(evaluations):
        raise InputError("evaluation", "no figures", "Connect an evaluation with a reward or a reference.")
    check_alike(evaluations)
    pairs = pair_differences(evaluations)
    sheets = tuple(one for evaluation in evaluations for one in contact_sheets(evaluation))
    record = {
        "format": "tastemaker-evaluation-1",
        "models": [evaluation.record() for evaluation in evaluations],
        "pairs": [_pair_record(found) for found in pairs],
    }
    return Report(as_text(evaluations, pairs), chart(evaluations), sheets, record, pairs)


def check_alike(evaluations: Sequence[Evaluation]) -> None:
    """Raise InputError where models were not measured alike (network, reference, prompts): no table mixes them."""
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.protocol != first.protocol:
            found = other.protocol or "connected prompts"
            raise InputError("protocol", found, f"{first.title} was measured with another; measure both alike.")
        for key in ("features", "reference", "reference_id", "prompts"):
            if first.about.get(key) != other.about.get(key):
                found = f"{key} {other.about.get(key)}"
                raise InputError("evaluation", found, f"{first.title} was measured with another; measure both alike.")
    titles = [evaluation.title for evaluation in evaluations]
    if len(set(titles)) != len(titles):
        raise InputError("title", titles[0], "Two models have the same name in this report; name one otherwise.")


def pair_differences(evaluations: Sequence[Evaluation]) -> tuple[Difference, ...]:
    """Return win rates of the second model over the first, for the same prompts and seeds; none without pairs."""
    if len(evaluations) != 2:
        return ()
    first, second = (evaluation.table for evaluation in evaluations)
    if first is None or second is None or None in first.seeds:
        return ()
    try:
        return tuple(compare(first, second))
    except InputError:
        return ()


def _pair_record(found: Difference) -> dict[str, Any]:
    half = [None if not math.isfinite(v) else v for v in (found.change_low, found.change_high)]
    return {
        "reward": found.name,
        "change": found.change,
        "change_low": half[0],
        "change_high": half[1],
        "win_rate": found.win_rate._asdict(),
    }


# --- the table --------------------------------------------------------------------------------


def format_estimate(estimate: Estimate | None) -> str:
    """Return a figure with its interval: `12.3 (11.8 to 12.9)`."""
    if estimate is None:
        return ""
    if not math.isfinite(estimate.low):
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def table_rows(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows: a row a section and model, a column a figure."""
    names = figures(evaluations)
    heading = ["", "model", "pictures", *(f"{n}{' (lower is better)' if n in LOWER_IS_BETTER else ''}" for n in names)]
    rows = []
    for section in sections(evaluations):
        for evaluation in evaluations:
            values = evaluation.sections.get(section)
            if values:
                counts = [estimate.count for n, estimate in values.items() if n != DIVERSITY]  # which counts prompts
                count = max(counts, default=evaluation.about.get("pictures", 0))
                rows.append([section, evaluation.title, f"{count:,}", *(format_estimate(values.get(n)) for n in names)])
    return heading, rows


def as_text(evaluations: Sequence[Evaluation], pairs: Sequence[Difference]) -> str:
    """Write the table in Markdown, then what to know about it."""
    heading, rows = table_rows(evaluations)
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (heading, *rows)]
    lines.insert(1, "|" + " --- |" * len(heading))
    lines += ["", "Intervals are 95%.", *(f"- {' '.join(note.split())}" for note in report_notes(evaluations, pairs))]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def inert_markdown(text: str) -> str:
    """Return Markdown in which titles and reasons of strangers stay text: no HTML, no link and no picture."""
    for character in "&<>[]`":  # & first, of which the others are made; none of them is in our own layout
        text = text.replace(character, f"&#{ord(character)};")
    return text


def report_notes(evaluations: Sequence[Evaluation], pairs: Sequence[Difference]) -> list[str]:
    """List what stands below the table: pairs, how it was measured, what to be careful about, what is not in it."""
    notes = [f"{evaluations[1].title} against {evaluations[0].title}, pair by pair. {in_words(p)}" for p in pairs]
    first = evaluations[0].about
    if first.get("reference"):
        read = first["features"]
        notes.append(
            f"FID and KID against {first['reference']}, read by {read['extractor']}, resized {read['resize']}."
        )
    notes += [f"{name}: {about['meaning']} {about['source']}" for name, about in first.get("rewards", {}).items()]
    asked = {evaluation.about.get("asked") for evaluation in evaluations}
    if len(asked) > 1 and first.get("features"):
        notes.append("The models have different numbers of pictures, and FID falls with more: do not compare theirs.")
    shared = [n for n in evaluations[0].notes if all(n in e.notes for e in evaluations)]
    notes += shared
    for evaluation in evaluations:
        notes += [f"{evaluation.title}: {note}" for note in evaluation.notes if note not in shared]
        if evaluation.broken:
            name, why = evaluation.broken[0]
            notes.append(f"{evaluation.title}: {len(evaluation.broken):,} pictures left out; {name} {why}.")
    return notes


# --- contact sheets ---------------------------------------------------------------------------


def contact_sheets(evaluation: Evaluation) -> list[tuple[str, Image.Image]]:
    """Return (title, picture) for each reward: the best and the worst of a model's pictures."""
    table = evaluation.table
    if table is None:
        return []
    return [(f"{evaluation.title}: {name}", best_and_worst(table, name, evaluation.title)) for name in table.scores]


def best_and_worst(table: ScoreTable, reward: str, title: str) -> Image.Image:
    """Draw the best of a table by one reward above its worst, each with its rank among all. RGB."""
    order = best_first(table.scores[reward], None)
    count = min(SHOWN, max(1, len(order) // 2))
    ranks = torch.tensor(order).argsort() + 1
    ranked = replace(table, main=reward, ranks=ranks, scores={reward: table.scores[reward]}, group_by="all")
    parts = [sheet(ranked.rows(order[:count]), columns=count, title=f"{title}: the best by {reward}")]
    if len(order) > 1:
        parts.append(sheet(ranked.rows(order[-count:]), columns=count, title=f"the worst, of {len(order):,}"))
    return _stack(parts, 0)


def overview(report: Report, most: int = 8) -> Image.Image:
    """Draw the chart above the contact sheets, at most so many of them. RGB, as wide as the chart."""
    width, gap = report.chart.width, 12
    parts = [report.chart]
    for _, picture in report.sheets[:most]:
        scale = min(1.0, (width - 2 * gap) / picture.width)
        size = round(picture.width * scale), round(picture.height * scale)
        parts.append(picture.resize(size, Image.Resampling.LANCZOS) if scale < 1 else picture)
    return _stack(parts, gap)


def _stack(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    """Put pictures below each other."""
    height = sum(p.height + gap for p in parts) - gap
    canvas = Image.new("RGB", (max(p.width for p in parts), height), BACKGROUND)
    y = 0
    for part in parts:
        canvas.paste(part, (0, y))
        y += part.height + gap
    return canvas

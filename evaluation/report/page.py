"""A report as one HTML file with everything inside it and nothing that runs.

Titles, prompts and categories come from strangers: they are escaped, and a content security policy allows one style
and pictures in the file itself, no script.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

from ...ranking.output.page import policy_hash
from ..measures import LOWER_IS_BETTER
from ..result import Evaluation
from ..settings import OVERALL
from .content import Report, report_notes, table_rows

_STYLE = """
:root { --ground: #16181d; --panel: #21242b; --line: #3a3e48; --text: #eceef2; --dim: #9ba2b0; --gold: #f5c451;
  color-scheme: dark; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 24px 20px 60px; background: var(--ground); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 24px; font-weight: 600; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; font-weight: 600; margin: 30px 0 10px; overflow-wrap: anywhere; }
p, li, caption { color: var(--dim); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--dim); font-weight: 500; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:nth-child(2), thead th:nth-child(2) { white-space: normal; overflow-wrap: anywhere; }
tr.overall th, tr.overall td { font-weight: 600; background: #262a33; }
tbody th { font-weight: inherit; }
td span { display: block; color: var(--dim); font-weight: 400; font-size: 12px; }
.best { color: var(--gold); }
ul { padding-left: 18px; } li { margin: 4px 0; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; border-radius: 8px; border: 1px solid var(--line); }
@media print { :root { --ground: #fff; --panel: #fff; --line: #bbb; --text: #111; --dim: #444; --gold: #8a6100; }
  tr.overall th, tr.overall td { background: #eee; } }
"""
_MAX_SIDE = 1600


def report_page(report: Report, evaluations: Sequence[Evaluation]) -> str:
    """The page. Pictures are JPEGs of at most 1600 pixels a side."""
    title = " and ".join(evaluation.title for evaluation in evaluations)
    names = list(dict.fromkeys(e.protocol for e in evaluations if e.protocol))
    policy = f"default-src 'none'; img-src data:; style-src {policy_hash(_STYLE)}; base-uri 'none'; form-action 'none'"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(', '.join(names) or 'Evaluation')}. Intervals are 95%.</p>",
        _table(evaluations),
        "<h2>Figures</h2>",
        _picture(report.chart, "PNG", "All figures with their intervals"),
        "<h2>Notes</h2><ul>",
        *(f"<li>{html.escape(note)}</li>" for note in report_notes(evaluations, report.pairs)),
        "</ul>",
    ]
    for name, picture in report.sheets:
        parts += [f"<h2>{html.escape(name)}</h2>", _picture(picture, "JPEG", f"Best and worst, {name}")]
    return "\n".join([*parts, "</body></html>", ""])


def _table(evaluations: Sequence[Evaluation]) -> str:
    heading, rows = table_rows(evaluations)
    best = _best(evaluations, heading[3:])
    cells = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heading)
    lines = [f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>']
    for section, model, count, *values in rows:
        kind = ' class="overall"' if section == OVERALL else ""
        shown = [_value(v, (section, model, i) in best) for i, v in enumerate(values)]
        lines.append(
            f'<tr{kind}><th scope="row">{html.escape(section)}</th><td>{html.escape(model)}</td>'
            f"<td>{count}</td>{''.join(shown)}</tr>"
        )
    return "\n".join([*lines, "</tbody></table></div>"])


def _value(text: str, best: bool) -> str:
    value, _, interval = text.partition(" (")
    small = f"<span>{html.escape(interval.rstrip(')'))}</span>" if interval else ""
    return f"<td{' class=best' if best else ''}>{html.escape(value)}{small}</td>"


def _best(evaluations: Sequence[Evaluation], headings: Sequence[str]) -> set[tuple[str, str, int]]:
    """(section, model, column) of the best value of each column, where several models have one.

    Diversity has no best; and what the intervals do not tell apart is not called better.
    """
    found = set()
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


def _apart(first, second) -> bool:
    """Whether two intervals do not meet; False where there is none."""
    return first.high < second.low or second.high < first.low


def _picture(picture: Image.Image, kind: str, text: str) -> str:
    small = picture.copy()
    small.thumbnail((_MAX_SIDE, 8 * _MAX_SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, kind, **({"quality": 88} if kind == "JPEG" else {}))
    address = f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
    return f'<img alt="{html.escape(text)}" width="{small.width}" height="{small.height}" src="{address}">'

"""The graph that measures, in the real page: run, and the report stands on the node and on the disk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import close_templates, shots

pytestmark = pytest.mark.browser
RUN_SECONDS = 240_000
REPORT = "window.app.graph._nodes.find(n => n.type === 'TastemakerReport')"
SAID = "[...document.querySelectorAll('.tastemaker-report')].map(e => e.textContent)"
PROMPTS = (
    "red background with a large blue heart in the middle\n<img src=x onerror=alert(1)> star on a green background"
)


def test_two_measurements_make_a_report_on_the_node(page: Any, server: Any) -> None:
    close_templates(page)
    graph = json.loads((ROOT / "workflows" / "evaluate_before_after.json").read_text(encoding="utf-8"))
    page.evaluate("graph => window.app.loadGraphData(graph)", graph)
    page.wait_for_function("count => window.app.graph._nodes.length === count", arg=len(graph["nodes"]))
    page.evaluate(
        """text => {
            for (const node of window.app.graph._nodes)
                for (const widget of node.widgets ?? [])
                    if (widget.name === 'images_per_prompt') widget.value = 2;
                    else if (widget.name === 'steps') widget.value = Math.min(widget.value, 4);
                    else if (widget.name === 'resamples') widget.value = 2;
                    else if (node.type === 'TastemakerPrompts') widget.value = text;
        }""",
        PROMPTS,
    )
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(f"() => {SAID}.some(t => t.includes('Saved: '))", timeout=RUN_SECONDS)
    said = next(text for text in page.evaluate(SAID) if "Saved: " in text)
    assert "model3 steps8 steps" in said  # the cells of a table's rows, one after the other
    assert "pictures44" in said
    page.wait_for_function(f"() => {REPORT}.imgs?.[0]?.naturalWidth === 1200", timeout=30_000)
    page.evaluate(
        f"""() => {{
            const node = {REPORT};
            Object.assign(window.app.canvas.ds, {{scale: 0.85, offset: [300 - node.pos[0], 60 - node.pos[1]]}});
            window.app.canvas.setDirty(true, true);
        }}"""
    )
    page.wait_for_timeout(1000)
    page.screenshot(path=shots() / "page_evaluate.png")
    files = sorted((server.base / "output" / "tastemaker").glob("report_*"))
    assert {f.suffix for f in files} == {".html", ".json", ".md", ".png"}
    html = next(f for f in files if f.suffix == ".html").read_text(encoding="utf-8")
    assert "<img src=x" not in html
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    assert page.console_problems == []

"""Search in the real page: the family tree grows while it runs, and is there again after a reload."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import close_templates, shots

pytestmark = pytest.mark.browser
STATUS = "document.querySelector('.tms-status').textContent"
SMALL = {"method": "particle steering", "budget": 48, "steps": 6, "eta": 1.0, "look_every": 1, "strength": 40.0}
LOADED = "() => [...document.querySelectorAll('.tms-picture')].filter(one => one.naturalWidth === 64).length >= 8"


def test_the_tree_grows_and_comes_back(page: Any) -> None:
    close_templates(page)
    graph = json.loads((ROOT / "workflows" / "search.json").read_text(encoding="utf-8"))
    page.evaluate("graph => window.app.loadGraphData(graph)", graph)
    page.wait_for_function("count => window.app.graph._nodes.length === count", arg=len(graph["nodes"]))
    page.evaluate(
        """values => {
            for (const node of window.app.graph._nodes)
                for (const widget of node.widgets ?? [])
                    if (widget.name in values) widget.value = values[widget.name];
            const node = window.app.graph._nodes.find(n => n.type === 'TastemakerSearch');
            Object.assign(window.app.canvas.ds, { scale: 0.85, offset: [300 - node.pos[0], 70 - node.pos[1]] });
            window.app.canvas.setDirty(true, true);
        }""",
        SMALL,
    )
    assert page.evaluate(STATUS).startswith("Run the graph")
    page.evaluate("""() => { window.said = [];
        window.app.api.addEventListener('tastemaker.search', ({ detail }) => window.said.push(detail.state)); }""")
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(f"() => {STATUS} === 'done'", timeout=120_000)
    said = page.evaluate("() => window.said")
    assert said[0] == "starting"
    assert "prompt 1 of 2, step 2 of 6" in said
    page.wait_for_function(LOADED, timeout=30_000)
    assert page.locator(".tms-best").count() == 1
    assert page.locator(".tms-dead").count() > 0
    assert page.locator(".tms-family svg path").count() >= 8
    assert "network evaluations" in page.locator(".tms-report").inner_text()
    page.locator(".tms-choice").select_option("0")
    page.wait_for_function(LOADED, timeout=30_000)
    page.screenshot(path=str(shots() / "page_search.png"))
    assert "tastemaker_look_" not in page.evaluate("() => JSON.stringify(window.app.graph.serialize())")
    assert page.console_problems == []

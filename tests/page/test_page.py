"""The real page in Chromium, used as a new user would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import READY, shots

pytestmark = pytest.mark.browser
RUN_SECONDS = 240_000


def open_template(page: Any, name: str) -> None:
    """Open a template of ours from the template browser, which the page offers on the first visit to a host."""
    dialog = page.get_by_role("dialog")
    dialog.first.wait_for(timeout=60_000)
    # newer pages list what packs bring under the pack's name only
    dialog.get_by_text("tastemaker", exact=True).first.click()
    dialog.get_by_placeholder("Search").first.fill(name)
    card = dialog.locator(f"[data-testid='template-workflow-{name}']")
    card.first.wait_for(timeout=20_000)
    card.first.click()
    page.wait_for_function("() => window.app.graph._nodes.length === 8", timeout=30_000)


def widgets(page: Any) -> dict[str, Any]:
    """Every widget value in the graph, by node and name."""
    return page.evaluate(
        """() => Object.fromEntries(window.app.graph._nodes.map(n => [
            `${n.id} ${n.type}`,
            Object.fromEntries((n.widgets ?? []).filter(w => w.serialize !== false).map(w => [w.name, w.value])),
        ]))"""
    )


def rank_node_text(page: Any) -> str:
    # not innerText: a cell that no frame has painted yet (content-visibility) has none
    return page.locator(".tastemaker-ranking").first.text_content()


def test_a_new_user_opens_the_template_runs_it_and_sees_the_ranking(page: Any) -> None:
    open_template(page, "best_of_batch")
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(
        "() => document.querySelectorAll('.tastemaker-ranking .tm-cell').length === 16", timeout=RUN_SECONDS
    )
    text = rank_node_text(page)
    assert "#1" in text
    assert "yellow star" in text
    page.wait_for_function(
        "() => document.querySelector('.tastemaker-ranking .tm-thumb').naturalWidth === 64", timeout=30_000
    )
    page.screenshot(path=str(shots() / "page_after_run.png"))


def test_saving_and_loading_changes_no_widget(page: Any) -> None:
    before = widgets(page)
    saved = page.evaluate("() => JSON.parse(JSON.stringify(window.app.graph.serialize()))")
    page.reload()
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("graph => window.app.loadGraphData(graph)", saved)
    page.wait_for_function("() => window.app.graph._nodes.length === 8")
    assert widgets(page) == before
    file = json.loads((ROOT / "workflows" / "best_of_batch.json").read_text(encoding="utf-8"))
    stored = {n["id"]: n["widgets_values"] for n in file["nodes"]}
    assert {n["id"]: n["widgets_values"] for n in saved["nodes"]} == stored


def test_hostile_prompts_are_shown_as_text(page: Any) -> None:
    hostile = "<img src=x onerror='window.hacked=1'> a red star"
    record = {"rank": 1, "score": 0.5, "seed": 1, "prompt": hostile}
    page.evaluate(
        """record => window.app.graph._nodes.find(n => n.type === 'TastemakerRank')
            .onExecuted({tastemaker_ranking: [record]})""",
        record,
    )
    assert hostile in rank_node_text(page)
    assert page.locator(".tastemaker-ranking img[src=x]").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_nothing_of_ours_complained(page: Any) -> None:
    assert page.console_problems == []

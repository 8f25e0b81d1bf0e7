"""The real page in Chromium, used as a new user would."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from scripts import chromium
from tests.conftest import ROOT

pytestmark = pytest.mark.browser
READY = "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.TastemakerRank)"
RUN_SECONDS = 240_000


@pytest.fixture(scope="module")
def page(server: Any) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or chromium.find()
    if path is None:
        pytest.fail("no Chromium; set CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        opened = browser.new_page(viewport={"width": 1800, "height": 1000})
        opened.console_problems = []

        def note(kind: str, text: str, where: str) -> None:
            # the page asks the network about every custom node; what it cannot reach is not ours
            ours = "tastemaker" in f"{text} {where}".lower() and server.address in f"{text} {where}"
            if ours:
                opened.console_problems.append(f"{kind}: {text} ({where})")

        opened.on("console", lambda m: m.type == "error" and note(m.type, m.text, m.location.get("url", "")))
        opened.on("pageerror", lambda e: note("pageerror", str(e), e.stack or ""))
        opened.goto(server.address)
        opened.wait_for_function(READY, timeout=60_000)
        yield opened
        browser.close()


def open_template(page: Any, name: str) -> None:
    """Open a template of ours from the template browser, as a user does."""
    dialog = page.get_by_role("dialog")
    if not dialog.count():
        page.get_by_text("Templates", exact=True).first.click()
    dialog.first.wait_for()
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
    return page.locator(".tastemaker-ranking").first.inner_text()


def test_a_new_user_opens_the_template_runs_it_and_sees_the_ranking(page: Any) -> None:
    open_template(page, "best_of_batch")
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(
        "() => document.querySelectorAll('.tastemaker-ranking tr').length === 17", timeout=RUN_SECONDS
    )
    text = rank_node_text(page)
    assert "#1" in text
    assert "yellow star" in text
    # the list is there at once; the sheet is a picture the page still has to fetch
    page.wait_for_function(
        "() => app.graph._nodes.find(n => n.type === 'TastemakerRank').imgs?.[0]?.naturalWidth > 500", timeout=30_000
    )
    page.screenshot(path=str(_shots() / "page_after_run.png"))


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
    assert page.locator(".tastemaker-ranking img").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_nothing_of_ours_complained(page: Any) -> None:
    assert page.console_problems == []


def _shots() -> Any:
    folder = ROOT / ".cache" / "shots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

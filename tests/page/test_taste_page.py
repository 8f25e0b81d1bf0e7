"""Learn Taste in the real page: clicks by keyboard alone, stored by the run, and a page that dies loses none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import READY, newcomer_seen, set_renderer, shots

pytestmark = pytest.mark.browser

LEARN = "app.graph._nodes.find(n => n.type === 'TastemakerLearnTaste')"
BUILD = """name => {
    app.graph.clear();
    const make = (type, x, y, values = {}) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        for (const [key, value] of Object.entries(values)) node.widgets.find(w => w.name === key).value = value;
        return node;
    };
    const table = make('TestTwin', -300, 60, { count: 12, side: 300, width: 300, prompts: 'a heart', tint: 0 });
    const reward = make('TastemakerLoadReward', -300, 360);
    const learn = make('TastemakerLearnTaste', 100, 60, { name, clicks_first: 3 });
    learn.setSize([420, 760]);
    table.connect(0, learn, learn.findInputSlot('scores'));
    reward.connect(0, learn, learn.findInputSlot('reward'));
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = 400;
    app.canvas.ds.offset[1] = 60;
}"""
WATCH = f"""() => {{
    window.answered = 0;
    const node = {LEARN}, own = node.onExecuted;
    node.onExecuted = function () {{ own.apply(this, arguments); window.answered += 1; }};
}}"""
SHOWN = (
    "() => [...document.querySelectorAll('.tastemaker-grid .tmt-picture')].map(p => p.complete && p.naturalWidth > 0)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("taste_page")
    newcomer_seen(base)
    shutil.copy(ROOT / "tests" / "nodes" / "votes_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def run(page: Any) -> None:
    page.evaluate(WATCH)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("() => window.answered > 0", timeout=120_000)


def clicks(page: Any) -> list[Any]:
    text = page.evaluate(f"() => {LEARN}.widgets.find(w => w.name === 'clicks').value")
    found = json.loads(text) if text else []
    return found["clicks"] if isinstance(found, dict) else found


@pytest.mark.parametrize("renderer", ["classic", "nodes 2.0"])
def test_a_taste_is_taught_by_keys_and_stored(page: Any, server: Any, renderer: str) -> None:
    name = f"taught {renderer}"
    set_renderer(page, renderer)
    page.evaluate(BUILD, name)
    run(page)
    page.keyboard.press("Alt+t")
    page.wait_for_selector(".tastemaker-grid[open]", timeout=10_000)
    page.wait_for_function(f"() => ({SHOWN})().length === 6 && ({SHOWN})().every(Boolean)")
    first = page.evaluate("() => [...document.querySelectorAll('.tmt-picture')].map(p => p.src)")
    for key in ("1", "6", "3", "0", "2"):
        page.keyboard.press(key)
    assert len(clicks(page)) == 5
    page.keyboard.press("u")
    assert len(clicks(page)) == 4
    assert page.evaluate("() => [...document.querySelectorAll('.tmt-picture')].map(p => p.src)") != first
    page.screenshot(path=str(shots() / f"taste_grid_{renderer.replace(' ', '_')}.png"))
    page.evaluate(WATCH)
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.answered > 0", timeout=120_000)
    assert page.locator(".tastemaker-grid[open]").count() == 0
    assert [p.stem for p in (server.output / "tastemaker" / "tastes").glob(f"{name}*")] == [name]
    page.wait_for_function(f"() => !({LEARN}).widgets.find(w => w.name === 'clicks').value.includes('picked')")
    assert clicks(page) == []  # what is stored is not sent again
    page.wait_for_timeout(500)
    page.screenshot(path=str(shots() / f"taste_node_{renderer.replace(' ', '_')}.png"))
    set_renderer(page, "classic")


def test_clicks_outlive_a_page_that_dies(page: Any) -> None:
    page.evaluate(BUILD, "reloaded")
    run(page)
    page.keyboard.press("Alt+t")
    page.wait_for_selector(".tastemaker-grid[open]", timeout=10_000)
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("Escape")
    kept = clicks(page)
    saved = page.evaluate("() => app.graph.serialize()")
    page.reload()
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("graph => app.loadGraphData(graph)", saved)
    page.wait_for_function(f"() => !!({LEARN})")
    assert clicks(page) == kept
    assert len(kept) == 2


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []

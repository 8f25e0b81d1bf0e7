"""The page in other languages: titles, labels and tooltips of our nodes, while values keep their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.locales import LOCALES
from tests.page.conftest import READY, newcomer_seen, shots

pytestmark = pytest.mark.browser

BUILD = """() => {
    app.graph.clear();
    const node = LiteGraph.createNode('TastemakerRank');
    node.pos = [0, 0];
    app.graph.add(node);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = 600;
    app.canvas.ds.offset[1] = 120;
    const widget = node.widgets.find(w => w.name === 'top_k');
    return {
        title: node.title,
        label: widget.label,
        names: node.widgets.map(w => w.name),
        inputs: node.inputs.map(i => [i.name, i.localized_name]),
        outputs: node.outputs.map(o => [o.name, o.localized_name]),
        saved: Object.keys(node.serialize().widgets_values).length,
    };
}"""
WIDGET = """() => {
    const node = app.graph._nodes[0], widget = node.widgets.find(w => w.name === 'top_k');
    const y = node.pos[1] + widget.last_y + 10, x = node.pos[0] + 60;
    const box = app.canvas.canvas.getBoundingClientRect();
    return [box.left + x + app.canvas.ds.offset[0], box.top + y + app.canvas.ds.offset[1]];
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, whose language is changed."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("language_page")
    newcomer_seen(base)
    with ComfyServer(base) as running:
        yield running


def choose(page: Any, language: str) -> None:
    page.evaluate("l => app.extensionManager.setting.set('Comfy.Locale', l)", language)
    page.reload()
    page.wait_for_function(READY, timeout=60_000)


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_rank_speaks_the_language_and_keeps_its_names(page: Any, language: str) -> None:
    words = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))["TastemakerRank"]
    choose(page, language)
    built = page.evaluate(BUILD)
    assert built["title"] == words["display_name"]
    assert built["label"] == words["inputs"]["top_k"]["name"]
    assert {"top_k", "keep", "buckets", "great_from", "picks"} <= set(built["names"])
    assert all(label == words["inputs"][name]["name"] for name, label in built["inputs"])
    assert [label for _, label in built["outputs"]] == [entry["name"] for entry in words["outputs"].values()]
    served = page.evaluate(
        "async l => (await fetch(`/extensions/tastemaker/docs/TastemakerRank/${l}.md`)).text()", language
    )
    assert served.startswith(f"# {words['display_name']}\n")
    page.wait_for_timeout(300)
    page.mouse.move(*page.evaluate(WIDGET))
    page.locator(".node-tooltip").wait_for(timeout=10_000)
    assert page.locator(".node-tooltip").inner_text().strip() == words["inputs"]["top_k"]["tooltip"]
    page.screenshot(path=str(shots() / f"language_{language}.png"))


def test_a_graph_saved_in_one_language_runs_and_opens_in_another(page: Any) -> None:
    choose(page, "ja")
    page.evaluate(BUILD)
    page.evaluate("() => { app.graph._nodes[0].widgets.find(w => w.name === 'top_k').value = 3; }")
    saved = page.evaluate("() => app.graph.serialize()")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    (sent,) = prompt.values()
    assert sent["inputs"]["top_k"] == 3
    choose(page, "en")
    page.evaluate("graph => app.loadGraphData(graph)", saved)
    page.wait_for_function("() => app.graph._nodes.length === 1")
    assert page.evaluate("() => app.graph._nodes[0].widgets.find(w => w.name === 'top_k').value") == 3


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []

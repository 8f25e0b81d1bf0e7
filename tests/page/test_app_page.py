"""App mode and blueprints in the real page, where it has them: what is seen without the graph, and in one node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import newcomer_seen, shots

pytestmark = pytest.mark.browser

# older pages have the command too, and an early form of the mode
HAS_APPS = """() => {
    const [major, minor] = (window.__COMFYUI_FRONTEND_VERSION__ ?? '0.0').split('.').map(Number);
    return major > 1 || minor >= 40;
}"""
TOGGLE = "() => app.extensionManager.command.execute('Comfy.ToggleLinear')"
APPS = {
    "best_of_batch": ["prompts, one a line", "pictures of each prompt", "seed", "keep the best", "Ranking"],
    "rank_folder": [
        *["folder of pictures", "folders inside it too", "judged by", "keep the best", "save as"],
        "Ranking",
    ],
    "rank_my_own_graph": ["checkpoint", "prompt", "pictures", "keep the best", "Ranking"],
    "teach_my_taste": ["prompts, one a line", "seed", "keep the best", "Your taste", "Ranking"],
    "fine_tune": ["prompts to practise on", "prompts to test on", "name of the run", "epochs", "Training"],
}
MAKE = """() => {
    app.graph.clear();
    const node = LiteGraph.createNode('EmptyImage');
    node.widgets.find(w => w.name === 'batch_size').value = 3;
    for (const name of ['width', 'height']) node.widgets.find(w => w.name === name).value = 64;
    app.graph.add(node);
}"""
PLACED = """() => {
    const node = app.graph._nodes.find(n => n.subgraph);
    if (!node) return null;
    app.graph._nodes.find(n => n.type === 'EmptyImage').connect(0, node, node.findInputSlot('images'));
    const set = (name, value) => { node.widgets.find(w => w.name === name).value = value; };
    set('reward', 'jpeg-compressibility');
    set('keep', 2);
    const shown = LiteGraph.createNode('PreviewImage');
    app.graph.add(shown);
    node.connect(node.findOutputSlot('best'), shown, 0);
    return [node.title, node.widgets.map(w => w.name), node.outputs.map(o => o.name)];
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("apps")
    newcomer_seen(base)
    with ComfyServer(base) as running:
        yield running


@pytest.fixture
def apps(page: Any) -> Any:
    """A page that has App mode."""
    page.set_viewport_size({"width": 1600, "height": 1000})
    if not page.evaluate(HAS_APPS):
        pytest.skip("this page has no App mode")
    return page


@pytest.mark.parametrize("name", APPS)
def test_a_template_is_an_app_with_words_that_need_no_graph(apps: Any, name: str) -> None:
    graph = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    apps.evaluate("graph => app.loadGraphData(graph, true, true)", graph)
    apps.wait_for_function("count => app.graph._nodes.length === count", arg=len(graph["nodes"]))
    apps.evaluate(TOGGLE)
    apps.get_by_test_id("linear-widgets").wait_for(timeout=20_000)
    apps.keyboard.press("Escape")  # a tour that the page offers once
    labels = apps.get_by_test_id("linear-widgets").get_by_test_id("builder-widget-label")
    assert [text.strip() for text in labels.all_inner_texts()] == APPS[name]
    assert apps.get_by_test_id("linear-widgets").locator(".tastemaker-panel").count() == len(
        [label for label in APPS[name] if label[0].isupper()]
    )
    apps.screenshot(path=str(shots() / f"app_{name}.png"))
    apps.evaluate(TOGGLE)
    apps.get_by_test_id("linear-widgets").wait_for(state="detached", timeout=20_000)


def test_a_blueprint_is_found_by_its_name_and_runs_as_one_node(apps: Any) -> None:
    apps.evaluate(MAKE)
    apps.wait_for_timeout(1000)
    apps.mouse.dblclick(1000, 820)
    apps.get_by_role("dialog").wait_for(timeout=20_000)
    apps.keyboard.type("Rank a batch")
    apps.get_by_role("dialog").get_by_text("Rank a batch").first.wait_for(timeout=20_000)
    apps.keyboard.press("Enter")
    apps.wait_for_function("() => app.graph._nodes.some(n => n.subgraph)", timeout=20_000)
    apps.wait_for_timeout(500)  # it hangs on the pointer
    apps.mouse.move(990, 810)
    apps.mouse.click(1000, 820)  # puts it down
    apps.wait_for_function("() => app.graph._nodes.some(n => n.subgraph && !n.flags?.ghost)", timeout=20_000)
    assert apps.evaluate(PLACED) == ["Rank a batch", ["reward", "keep"], ["best", "best scores", "all scores"]]
    apps.get_by_test_id("queue-button").first.click()
    best = "() => Object.values(app.nodeOutputs).some(o => o.images?.length === 2)"
    apps.wait_for_function(best, timeout=120_000)
    apps.evaluate("() => app.canvas.setGraph(app.graph._nodes.find(n => n.subgraph).subgraph)")
    apps.wait_for_function("() => document.querySelectorAll('.tastemaker-ranking .tm-cell').length === 3")
    apps.evaluate("() => app.canvas.setGraph(app.rootGraph)")


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []

"""Every template in the real page, in both renderers, opened and with results on it: nothing overlaps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.page.conftest import newcomer_seen, set_renderer, shots

pytestmark = pytest.mark.browser

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
# true boxes in the graph's own pixels: what the page draws, title included
BOXES = """() => app.graph._nodes.map(node => {
    const scale = app.canvas.ds.scale, [x, y] = node.pos, [width, height] = node.size;
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
    const [least, most] = node.computeSize();
    return { type: node.type, left: x, top: y - 30,
        right: x + Math.max(width, least, (drawn?.width ?? 0) / scale),
        bottom: y + Math.max(height, most, (drawn?.height ?? 0) / scale - 30) };
})"""
GROUPS = "() => app.graph._groups.map(g => { const [x, y, w, h] = g._bounding; return [x, y, x + w, y + h]; })"
PULLS_APART = "() => app.extensionManager.setting.get('Comfy.VueNodes.AutoScaleLayout') !== undefined"
# what a run would put on the nodes: pictures, and reports of many lines
TELL = """() => { for (const node of app.graph._nodes) {
    const wide = ['TastemakerCompare', 'TastemakerReport', 'TastemakerRewardCurve', 'TastemakerVoteResult'];
    const many = ['SaveImage', 'TastemakerSaveRanked'];
    const image = filename => ({ filename, subfolder: '', type: 'input' });
    const output = { tastemaker_report: Array(30).fill('a line of what was found') };
    if (node.type === 'TastemakerSample') output.images = [image('square.png')];
    if (many.includes(node.type)) output.images = Array(4).fill(image('square.png'));
    if (wide.includes(node.type)) output.images = [image('wide.png')];
    const detail = { node: String(node.id), display_node: String(node.id), output, prompt_id: 'x' };
    app.api.dispatchEvent(new CustomEvent('executed', { detail }));
} }"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("templates")
    newcomer_seen(base)
    (base / "input").mkdir()
    Image.new("RGB", (512, 512), "purple").save(base / "input" / "square.png")
    Image.new("RGB", (1200, 900), "navy").save(base / "input" / "wide.png")
    with ComfyServer(base) as running:
        yield running


@pytest.fixture(params=["classic", "nodes 2.0"])
def renderer(page: Any, request: Any) -> Iterator[str]:
    page.set_viewport_size({"width": 1600, "height": 1000})
    set_renderer(page, request.param)
    if request.param != "classic" and page.evaluate(PULLS_APART):
        set_renderer(page, "classic")
        pytest.skip("this page's new renderer is an early one, which moves and resizes nodes by itself")
    yield request.param
    set_renderer(page, "classic")


def apart(page: Any) -> list[tuple[str, str]]:
    """Pairs of nodes that lie on each other."""
    boxes = page.evaluate(BOXES)
    return [
        (a["type"], b["type"])
        for a, b in combinations(boxes, 2)
        if a["left"] < b["right"] - 1
        and b["left"] < a["right"] - 1
        and a["top"] < b["bottom"] - 1
        and b["top"] < a["bottom"] - 1
    ]


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_readable_and_stays_in_order_with_results_on_it(page: Any, renderer: str, name: str) -> None:
    graph = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    # as the template browser does: older pages look where the file says, newer ones fit it into the window
    page.evaluate("graph => app.loadGraphData(graph, true, true, null, { openSource: 'template' })", graph)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(graph["nodes"]))
    page.wait_for_timeout(1200)
    if renderer == "classic":
        assert page.evaluate("() => app.canvas.ds.scale") >= 0.5715  # below that it shows no text and no panels
    assert apart(page) == []
    page.evaluate(TELL)
    page.wait_for_timeout(1500)
    assert apart(page) == []
    groups = page.evaluate(GROUPS)
    for box in page.evaluate(BOXES):
        held = [g for g in groups if g[0] < box["left"] and box["right"] < g[2]]
        inside = [g for g in held if g[1] < box["top"] and box["bottom"] < g[3]]
        assert len(inside) == (box["type"] != "MarkdownNote"), box
    picture = shots() / f"template_{name}_{renderer.replace(' ', '_')}.png"
    page.screenshot(path=str(picture), style=".p-dialog-mask { display: none !important }")  # "Missing Models"


def as_saved_before(graph: dict[str, Any]) -> dict[str, Any]:
    """The graph as it was saved when Score's prompts were required, and stood before its reward."""
    (score,) = [node for node in graph["nodes"] if node["type"] == "TastemakerScore"]
    order = ["images", "prompts", "reward"]
    slots = {slot["name"]: slot for slot in score["inputs"]}
    score["inputs"] = [slots[name] for name in order] + [slot for slot in score["inputs"] if slot["name"] not in order]
    places = {slot["link"]: place for place, slot in enumerate(score["inputs"]) if slot["link"] is not None}
    for link in graph["links"]:
        if link[0] in places:
            link[4] = places[link[0]]
    return graph


def test_a_workflow_from_before_keeps_its_wires(page: Any) -> None:
    saved = (ROOT / "workflows" / "best_of_batch.json").read_text(encoding="utf-8")
    before = as_saved_before(json.loads(saved))
    assert before != json.loads(saved)
    prompts = []
    for graph in (before, json.loads(saved)):
        page.evaluate("graph => app.loadGraphData(graph, true, true)", graph)
        page.wait_for_function("count => app.graph._nodes.length === count", arg=len(graph["nodes"]))
        prompts.append(page.evaluate("async () => (await app.graphToPrompt()).output"))
    kinds = {name: node["class_type"] for name, node in prompts[0].items()}
    (score,) = [node["inputs"] for node in prompts[0].values() if node["class_type"] == "TastemakerScore"]
    wired = {name: (kinds[value[0]], value[1]) for name, value in score.items() if isinstance(value, list)}
    assert wired == {
        "images": ("TastemakerSample", 0),
        "prompts": ("TastemakerSample", 1),
        "reward": ("TastemakerLoadReward", 0),
    }
    assert prompts[0] == prompts[1]


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []

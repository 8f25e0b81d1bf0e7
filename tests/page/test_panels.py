"""Panels on nodes outlive undo, redo, another tab and a reload, in both renderers; news finds nodes in subgraphs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import READY, newcomer_seen, set_renderer, shots

pytestmark = pytest.mark.browser

KINDS = ("TastemakerRank", "TastemakerScore", "TastemakerVote", "TastemakerFineTune")
NODE = "app.graph._nodes.find(n => n.type === '{}')"
RANK = NODE.format("TastemakerRank")
# what a run would say, and the text that shows it
OUTPUTS = {
    "TastemakerRank": {
        "tastemaker_ranking": [
            {
                "rank": i,
                "score": 1.0 / i,
                "id": f"{i:016x}",
                "prompt": "a heart",
                "kept": i < 3,
                "scores": {"a": 1.0 / i},
            }
            for i in range(1, 6)
        ],
        "tastemaker_summary": [{"total": 5, "kept": 2, "main": "a", "columns": ["a"]}],
    },
    "TastemakerScore": {"tastemaker_report": ["5 of 5 pictures scored"]},
    "TastemakerVote": {
        "tastemaker_vote": [{"token": "t", "prompt": "a heart", "left": {}, "right": {}}],
        "tastemaker_vote_summary": [{"question": "Which one?"}],
    },
    "TastemakerFineTune": {
        "tastemaker_training": [{"state": "done", "epoch": 1, "epochs": 1, "rows": [{"reward": 0.5, "loss": 1}]}]
    },
}
SAID = {
    "TastemakerRank": "#5",
    "TastemakerScore": "5 of 5 pictures scored",
    "TastemakerVote": "0 of 1 voted",
    "TastemakerFineTune": "epoch 1 of 1",
}
BUILD = """async kinds => {
    await app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [],
        config: {}, extra: {}, id: '00000000-0000-4000-8000-' + String(Date.now()).padStart(12, '0') });
    kinds.forEach((kind, place) => {
        const node = LiteGraph.createNode(kind);
        node.pos = [100 + 500 * place, 100];
        app.graph.add(node);
        node.setSize([460, 900]);
    });
    app.canvas.ds.scale = 0.7;
    app.canvas.ds.offset = [60, 60];
    capture();
}"""
CAPTURE = """window.capture = () => {
    const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
    tracker.captureCanvasState ? tracker.captureCanvasState() : tracker.checkState();
}"""
TELL = """outputs => {
    for (const node of app.graph._nodes) {
        const id = String(node.id);
        const detail = { node: id, display_node: id, output: outputs[node.type], prompt_id: 'x' };
        if (outputs[node.type]) app.api.dispatchEvent(new CustomEvent('executed', { detail }));
    }
}"""
CHANGE = """() => { capture(); app.graph._nodes.find(n => n.type === 'TastemakerRank').pos = [90, 300]; capture(); }"""
BACK = """async () => {
    const { workflow, command } = app.extensionManager;
    for (let i = 0; i < 30 && workflow.activeWorkflow !== window.tab; i += 1) {
        await command.execute('Workspace.PreviousOpenedWorkflow');
    }
}"""
# the panel that a person sees: on the page, inside what the page draws, with some size
SEEN = """([kind, text]) => {
    const node = app.graph._nodes.find(n => n.type === kind);
    const element = node?.widgets.find(w => w.element?.classList.contains('tastemaker-panel'))?.element;
    const box = element?.getBoundingClientRect();
    return Boolean(element?.isConnected && element.textContent.includes(text) && box.width > 50 && box.height > 15);
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("panels")
    newcomer_seen(base)
    shutil.copy(ROOT / "tests" / "nodes" / "tables_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


@pytest.fixture(params=["classic", "nodes 2.0"])
def shown(page: Any, request: Any) -> Iterator[Any]:
    """The page with the four panels, each having something to show."""
    page.wait_for_function("() => app.extensionManager.workflow.activeWorkflow", timeout=60_000)  # comes last
    page.evaluate(CAPTURE)
    set_renderer(page, request.param)
    page.evaluate(BUILD, list(KINDS))
    page.wait_for_timeout(1000)
    page.evaluate(TELL, OUTPUTS)
    everything_is_shown(page)
    yield page
    set_renderer(page, "classic")


def everything_is_shown(page: Any) -> None:
    for kind in KINDS:
        page.wait_for_function(SEEN, arg=[kind, SAID[kind]], timeout=8_000)


def undo(page: Any, name: str = "undo") -> None:
    page.evaluate(f"async () => {{ await app.extensionManager.workflow.activeWorkflow.changeTracker.{name}(); }}")


def test_undo_and_redo_keep_every_panel_and_picks_still_count(shown: Any) -> None:
    shown.evaluate(CHANGE)
    old = shown.evaluate_handle(f"() => {RANK}")
    undo(shown)
    assert shown.evaluate(f"old => {RANK} !== old", old)  # the page made it anew
    everything_is_shown(shown)
    undo(shown, "redo")
    everything_is_shown(shown)
    shown.wait_for_timeout(500)
    shown.locator(".tastemaker-ranking .tm-cell").nth(1).click()
    picks = f"() => {RANK}.widgets.find(w => w.name === 'picks').value"
    shown.wait_for_function(f"() => ({picks})() === '{2:016x}'", timeout=5_000)
    undo(shown)
    shown.wait_for_function(f"() => ({picks})() === ''", timeout=5_000)
    everything_is_shown(shown)
    assert shown.locator(".tastemaker-ranking .tm-picked").count() == 0


def test_another_tab_and_back_keeps_every_panel(shown: Any) -> None:
    shown.evaluate("() => { window.tab = app.extensionManager.workflow.activeWorkflow; }")
    shown.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    shown.wait_for_function("() => app.extensionManager.workflow.activeWorkflow !== window.tab")
    assert shown.evaluate(f"() => !{RANK}")
    shown.evaluate(BACK)
    shown.wait_for_function(f"() => {RANK}")
    everything_is_shown(shown)


def test_a_run_while_the_panel_is_there_anew_is_shown(shown: Any) -> None:
    shown.evaluate(CHANGE)
    undo(shown)
    more = {"TastemakerScore": {"tastemaker_report": ["7 of 7 pictures scored"]}}
    shown.evaluate(TELL, more)
    shown.wait_for_function(SEEN, arg=["TastemakerScore", "7 of 7"], timeout=8_000)
    shown.wait_for_timeout(3000)  # nothing older comes back over it
    assert shown.evaluate(SEEN, ["TastemakerScore", "7 of 7"])


def test_a_training_run_tells_its_node_in_a_subgraph_and_says_when_it_was_cancelled(page: Any) -> None:
    page.evaluate(CAPTURE)
    page.evaluate(BUILD, ["TastemakerFineTune"])
    ids = page.evaluate(
        """() => { const node = app.graph._nodes[0];
        const { node: outer } = app.graph.convertToSubgraph(new Set([node]));
        window.inner = () => outer.subgraph.nodes.find(n => n.type === 'TastemakerFineTune');
        return `${outer.id}:${inner().id}`; }"""
    )
    tell = "detail => app.api.dispatchEvent(new CustomEvent('tastemaker.training', { detail }))"
    says = "() => inner().tastemakerTraining.element.textContent"
    page.evaluate(
        tell, {"node": ids, "state": "learned", "epoch": 2, "epochs": 9, "rows": [{"reward": 1}, {"reward": 2}]}
    )
    assert "learned" in page.evaluate(says)
    assert page.evaluate("() => inner().tastemakerTraining.element.querySelectorAll('svg').length") == 1
    page.evaluate(tell, {"node": ids, "state": "sampling 60 of 128", "epoch": 3, "epochs": 9, "seconds_left": 2100})
    assert "35 min left" in page.evaluate(says)
    page.evaluate("() => app.api.dispatchEvent(new CustomEvent('execution_interrupted', { detail: {} }))")
    assert "35 min" not in page.evaluate(says)
    assert page.evaluate(says).startswith("stopped  \u00b7  epoch 2 of 9 is finished")


RUN = """() => { const table = LiteGraph.createNode('TestTable'); table.pos = [-400, 100]; app.graph.add(table);
    table.widgets.find(w => w.name === 'count').value = 7;
    const rank = app.graph._nodes.find(n => n.type === 'TastemakerRank'); table.connect(0, rank, 0);
    capture(); app.queuePrompt(0); }"""


@pytest.mark.parametrize("renderer", ["classic", "nodes 2.0"])
def test_a_reload_keeps_the_gallery_of_a_real_run(page: Any, renderer: str) -> None:
    page.evaluate(CAPTURE)
    set_renderer(page, renderer)
    page.evaluate(BUILD, ["TastemakerRank"])
    page.evaluate(RUN)
    page.wait_for_function(SEEN, arg=["TastemakerRank", "#7"], timeout=60_000)
    page.wait_for_timeout(1500)  # the host writes its history when the run is over
    saved = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    page.reload()
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("graph => app.loadGraphData(graph)", saved)
    page.wait_for_function(SEEN, arg=["TastemakerRank", "#7"], timeout=10_000)
    set_renderer(page, "classic")


LEARNED = {
    "TastemakerPreferenceTune": {
        "tastemaker_training": [
            {
                **{"state": "done", "epoch": 2, "epochs": 2},
                "figures": [
                    {"name": "loss", "title": "loss", "floor": None, "minus": 0},
                    {"name": "accuracy", "title": "pairs agreed on", "floor": 0.5, "minus": 0},
                    {"name": "drift", "title": "better unlearned", "floor": 0, "minus": 0},
                ],
                "rows": [
                    {"reward": None, "loss": 0.693, "accuracy": 0.5, "drift": 0, "evaluation": None},
                    {
                        **{"reward": None, "loss": 0.6, "accuracy": 0.8, "drift": 0.001},
                        "evaluation": {"rewards": {}, "accuracy": 0.7},
                    },
                ],
            }
        ]
    }
}


@pytest.mark.parametrize("renderer", ["classic", "nodes 2.0"])
def test_preference_tune_shows_what_it_learned_without_a_reward(page: Any, renderer: str) -> None:
    set_renderer(page, renderer)
    page.evaluate(CAPTURE)
    page.evaluate(BUILD, ["TastemakerPreferenceTune"])
    page.wait_for_timeout(1000)
    page.evaluate(TELL, LEARNED)
    page.wait_for_function(SEEN, arg=["TastemakerPreferenceTune", "held-out pairs"], timeout=20_000)
    shown = page.evaluate("() => document.querySelector('.tastemaker-training').textContent")
    assert shown.startswith("done")
    assert "epoch 2 of 2" in shown
    assert "better unlearned" in shown
    assert page.evaluate("() => document.querySelectorAll('.tastemaker-training svg').length") == 4
    page.screenshot(path=str(shots() / f"preference_tune_{renderer.replace(' ', '_')}.png"))
    set_renderer(page, "classic")


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []

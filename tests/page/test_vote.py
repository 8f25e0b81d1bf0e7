"""Voting in the real page: by keyboard alone, blind, and safe from a page that dies."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Error

from tests.conftest import ROOT
from tests.page.conftest import READY, newcomer_seen, set_renderer, shots

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror='window.hacked=1'> a star"
BOOTH = ".tastemaker-booth"
VOTE = "app.graph._nodes.find(n => n.type === 'TastemakerVote')"
BUILD = """([table, values]) => {
    app.graph.clear();
    const vote = LiteGraph.createNode('TastemakerVote');
    vote.pos = [300, 60];
    app.graph.add(vote);
    vote.setSize([420, 520]);
    for (const [place, tint] of [[0, 0], [1, 1]]) {
        const made = LiteGraph.createNode('TestTwin');
        made.pos = [-100, 60 + 260 * place];
        app.graph.add(made);
        for (const [name, value] of Object.entries({ ...table, tint })) {
            made.widgets.find(w => w.name === name).value = value;
        }
        made.connect(0, vote, place);
    }
    for (const [name, value] of Object.entries(values)) vote.widgets.find(w => w.name === name).value = value;
    const result = LiteGraph.createNode('TastemakerVoteResult');
    result.pos = [780, 60];
    app.graph.add(result);
    result.setSize([560, 620]);
    vote.connect(0, result, result.findInputSlot('votes'));
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = 160;
    app.canvas.ds.offset[1] = 60;
}"""
LOADED = (
    f"""() => [...document.querySelectorAll('{BOOTH} .tmv-picture')].every(p => p.complete && p.naturalWidth > 0)"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("vote_page")
    newcomer_seen(base)
    shutil.copy(ROOT / "tests" / "nodes" / "votes_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def build(page: Any, study: str, *, prompts: str = "a heart\na star", **values: Any) -> None:
    table = {"count": 6, "side": 300, "width": 300, "prompts": prompts}
    table |= {name: values.pop(name) for name in ("count", "side") if name in values}
    table["width"] = table["side"]
    # pages of 1.49 give a node the values of the cleared one that had its number: what the tests change is set anew
    plain = {"question": "aesthetics", "votes": "", "before_name": "plainmodel", "after_name": "tunedmodel"}
    page.evaluate(BUILD, [table, {"study": study} | plain | values])


def run(page: Any) -> None:
    """Queue the graph and wait for the Vote node's answer."""
    page.evaluate(
        f"""() => {{ window.answered = 0; const node = {VOTE}, before = node.onExecuted;
        node.onExecuted = function () {{ before.apply(this, arguments); window.answered = 1; }};
        app.queuePrompt(0); }}"""
    )
    page.wait_for_function("() => window.answered", timeout=240_000)


def enter(page: Any) -> None:
    """Into the booth, by keyboard."""
    page.keyboard.press("Alt+v")
    page.wait_for_selector(f"{BOOTH}[open]")


def press(page: Any, key: str) -> None:
    """A vote, once both pictures are there."""
    page.wait_for_function(LOADED)
    page.keyboard.press(key)


def widget(page: Any) -> list[list[Any]]:
    text = page.evaluate(f"() => {VOTE}.widgets.find(w => w.name === 'votes').value")
    return json.loads(text)["votes"] if text else []


def count(page: Any) -> str:
    return page.locator(f"{BOOTH} .tmv-count").inner_text()


def status(page: Any) -> str:
    return page.locator(".tastemaker-vote .tmv-status").inner_text()


def query(server: Any, study: str, text: str) -> list[tuple]:
    file = sqlite3.Connection(str(server.output / "tastemaker" / "votes" / f"{study}.sqlite"))
    try:
        return file.execute(text).fetchall()
    finally:
        file.close()


def test_a_voter_votes_undoes_and_skips_by_keyboard(page: Any, server: Any) -> None:
    build(page, "keys")
    run(page)
    assert status(page) == "0 of 6 voted"
    page.screenshot(path=str(shots() / "vote_node.png"))
    enter(page)
    assert page.locator(f"{BOOTH} .tmv-question").inner_text() == "Which picture looks better?"
    page.wait_for_function(LOADED)
    page.screenshot(path=str(shots() / "vote_booth.png"))
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp"):
        press(page, key)
    assert count(page) == "4 of 6"
    assert [choice for _, choice, _ in widget(page)] == ["left", "right", "tie", "skip"]
    press(page, "Backspace")
    press(page, "u")
    assert count(page) == "2 of 6"
    assert page.locator(f"{BOOTH} .tmv-said").inner_text() == "Undone"
    press(page, "ArrowRight")
    press(page, "Space")
    assert [choice for _, choice, _ in widget(page)] == ["left", "right", "right", "skip"]
    page.keyboard.press("Escape")
    page.wait_for_selector(BOOTH, state="detached")
    assert status(page).startswith("4 of 6 voted")
    assert "4 not stored yet" in status(page)
    tokens = [token for token, _, _ in widget(page)]
    run(page)
    assert widget(page) == []  # what is stored leaves the node
    assert status(page) == "4 of 6 voted"
    stored = dict(query(server, "keys", "SELECT token, choice FROM votes"))
    assert [stored[token] for token in tokens] == ["left", "right", "right", "skip"]
    enter(page)
    assert count(page) == "4 of 6"
    press(page, "ArrowLeft")
    press(page, "ArrowLeft")
    assert "Every pair has your vote" in page.locator(BOOTH).inner_text()
    page.screenshot(path=str(shots() / "vote_done.png"))
    page.keyboard.press("Enter")  # Store votes has the focus
    page.wait_for_function("() => document.querySelector('.tastemaker-report').textContent.startsWith('Study keys')")
    page.wait_for_timeout(1500)
    page.screenshot(path=str(shots() / "vote_result.png"))
    assert len(query(server, "keys", "SELECT * FROM votes")) == 6


def test_a_key_held_down_is_one_vote(page: Any) -> None:
    build(page, "held")
    run(page)
    enter(page)
    page.wait_for_function(LOADED)
    page.keyboard.down("ArrowLeft")
    for _ in range(4):
        page.wait_for_function(LOADED)
        page.keyboard.down("ArrowLeft")  # what a held key sends
    page.keyboard.up("ArrowLeft")
    assert count(page) == "1 of 6"
    page.keyboard.press("Escape")


def test_what_is_on_the_page_while_voting_tells_no_model(page: Any) -> None:
    build(page, "leaks")
    run(page)
    enter(page)
    page.wait_for_function(LOADED)
    booth = page.locator(BOOTH).evaluate("e => e.outerHTML")
    rows = page.evaluate(f"() => JSON.stringify({VOTE}.tastemakerVote.rows)")
    for word in ("plainmodel", "tunedmodel", "second", "before", "after_"):
        assert word not in booth
        assert word not in rows
    sizes = page.evaluate(
        f"() => [...document.querySelectorAll('{BOOTH} .tmv-picture')].map(p => [p.naturalWidth, p.clientWidth, "
        "p.clientHeight])"
    )
    assert sizes[0] == sizes[1]
    assert sizes[0][1] > 700  # large enough to judge
    page.keyboard.press("Escape")


def test_hostile_prompts_are_text(page: Any) -> None:
    build(page, "hostile", prompts=HOSTILE, question="alignment")
    run(page)
    enter(page)
    page.wait_for_function(LOADED)
    assert page.locator(f"{BOOTH} .tmv-prompt").inner_text() == HOSTILE
    assert page.locator(f"{BOOTH} .tmv-question").inner_text() == "Which picture fits the text better?"
    page.screenshot(path=str(shots() / "vote_alignment.png"))
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("() => window.hacked") is None
    page.keyboard.press("Escape")


def test_the_pages_own_shortcuts_do_not_reach_the_node(page: Any) -> None:
    build(page, "shortcuts")
    run(page)
    page.evaluate(f"() => app.canvas.selectNode({VOTE})")
    enter(page)
    for key in ("Delete", "Backspace", "r", "m"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    assert page.evaluate(f"() => !!{VOTE} && {VOTE}.mode === 0")


def test_the_page_undoes_a_vote_and_the_pairs_stay(page: Any) -> None:
    """Ctrl+Z of the page makes the node anew from the state before: one vote less, and the pairs are still there."""
    build(page, "undone")
    run(page)
    enter(page)
    press(page, "ArrowLeft")
    press(page, "ArrowRight")
    page.keyboard.press("Escape")
    page.evaluate("() => app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    page.wait_for_function(f"() => {VOTE}?.tastemakerVote.host.votes().length === 1")  # the node is made anew
    page.wait_for_function(f"() => {VOTE}?.tastemakerVote.rows.length === 6")
    assert [choice for _, choice, _ in widget(page)] == ["left"]
    assert status(page).startswith("1 of 6 voted")


def test_two_hundred_pairs_without_the_mouse(page: Any, server: Any) -> None:
    build(page, "many", count=200, side=64, pairs=200)
    run(page)
    enter(page)
    keys = ["ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp"]
    for i in range(200):
        press(page, keys[i % 4])
    assert count(page) == "200 of 200"
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.tastemaker-report').textContent.startsWith('Study many')")
    found = dict(query(server, "many", "SELECT choice, count(*) FROM votes GROUP BY choice"))
    assert found == {"left": 50, "right": 50, "tie": 50, "skip": 50}


def test_both_renderers_let_vote(page: Any) -> None:
    set_renderer(page, "nodes 2.0")
    try:
        build(page, "vue")
        page.wait_for_timeout(1000)
        run(page)
        page.get_by_role("button", name="Vote on the pairs (Alt+V)").click()
        page.wait_for_selector(f"{BOOTH}[open]")
        press(page, "ArrowLeft")
        assert count(page) == "1 of 6"
        page.keyboard.press("Escape")
        page.wait_for_selector(BOOTH, state="detached")
        assert page.get_by_text("votes", exact=True).count() <= 2  # sockets, and no widget of that name
        page.screenshot(path=str(shots() / "vote_vue.png"))
    finally:
        set_renderer(page, "classic")


def test_everything_has_a_name(page: Any) -> None:
    build(page, "names")
    run(page)
    enter(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll(':is(.tastemaker-booth, .tastemaker-vote) :is(button, progress)')]
            .filter(e => !e.getAttribute('aria-label')).map(e => e.outerHTML)"""
    )
    assert nameless == []
    page.keyboard.press("Escape")


def test_the_workflow_from_pictures_to_the_result(page: Any, workflow: Any) -> None:
    graph = workflow("blind_vote")
    page.evaluate("graph => app.loadGraphData(graph)", graph)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(graph["nodes"]))
    stored = next(node["widgets_values"] for node in graph["nodes"] if node["type"] == "TastemakerVote")
    assert page.evaluate(f"() => app.graph.serialize().nodes.find(n => n.id == {VOTE}.id).widgets_values") == stored
    run(page)
    assert status(page) == "0 of 24 voted"
    enter(page)
    page.wait_for_function(LOADED)
    page.screenshot(path=str(shots() / "vote_workflow_booth.png"))
    for i in range(24):
        press(page, ["ArrowLeft", "ArrowRight", "ArrowDown"][i % 3])
    page.keyboard.press("Enter")
    report = "[...document.querySelectorAll('.tastemaker-report')].find(e => e.textContent.startsWith('Study few'))"
    page.wait_for_function(f"() => {report}")
    text = page.evaluate(f"() => {report}.textContent")
    assert "24 votes by 1 voter: me (24)" in text
    assert "8 ties" in text
    assert "tiny-imagereward prefers what voters chose in" in text
    page.evaluate("() => app.canvas.fitViewToSelectionAnimated?.()")
    page.wait_for_timeout(1500)
    page.screenshot(path=str(shots() / "vote_workflow.png"))


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []


def test_a_page_that_dies_loses_no_vote(page: Any, server: Any) -> None:
    """The page crashes after the third vote; another opens and has them all."""
    context = page.context.browser.new_context(viewport={"width": 1800, "height": 1000})
    dying = opened(context, server)
    build(dying, "killed")
    run(dying)
    enter(dying)
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown"):
        press(dying, key)
    before = widget(dying)
    assert len(before) == 3
    dying.wait_for_timeout(700)  # newer pages write their draft half a second after the last change
    with pytest.raises(Error):
        dying.goto("chrome://crash", timeout=10_000)
    other = opened(context, server)
    other.wait_for_function(f"() => !!{VOTE}", timeout=30_000)
    assert widget(other) == before
    run(other)
    assert status(other) == "3 of 6 voted"
    assert widget(other) == []
    assert [c for (c,) in query(server, "killed", "SELECT choice FROM votes ORDER BY at")] == ["left", "right", "tie"]
    context.close()


def opened(context: Any, server: Any) -> Any:
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_function(READY, timeout=60_000)
    return page

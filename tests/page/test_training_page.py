"""Fine-Tune in the real page: the curves move, Cancel keeps what was learned, Run goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.page.conftest import close_templates, shots

pytestmark = pytest.mark.browser
RUN_SECONDS = 240_000
SMALL = {"run_name": "in the page", "epochs": 3, "samples_per_epoch": 8, "steps": 6, "rank": 4}
STATUS = "document.querySelector('.tastemaker-training-status').textContent"
CURVES = "document.querySelectorAll('.tastemaker-training svg').length"
LINE = "document.querySelector('.tastemaker-training svg path[fill=none]')"
REWARD_POINTS = f"({LINE}?.getAttribute('d').match(/[ML]/g) ?? []).length"


@pytest.fixture(scope="module")
def opened(page: Any) -> Any:
    """The template, its run made small."""
    close_templates(page)
    graph = json.loads((ROOT / "workflows" / "fine_tune.json").read_text(encoding="utf-8"))
    page.evaluate("graph => window.app.loadGraphData(graph)", graph)
    page.wait_for_function("count => window.app.graph._nodes.length === count", arg=len(graph["nodes"]))
    page.evaluate(
        """values => {
            for (const node of window.app.graph._nodes)
                for (const widget of node.widgets ?? [])
                    if (node.type === 'TastemakerFineTune' && widget.name in values) widget.value = values[widget.name];
                    else if (node.type === 'TastemakerSample' && widget.name === 'images_per_prompt') widget.value = 1;
                    else if (node.type === 'TastemakerSample' && widget.name === 'steps') widget.value = 4;
        }""",
        SMALL,
    )
    return page


def press_run(page: Any) -> None:
    page.get_by_test_id("queue-button").first.click()


def test_cancel_in_the_second_epoch_keeps_the_first(opened: Any, server: Any) -> None:
    assert opened.evaluate(STATUS) == "Run the graph to see the curves."
    press_run(opened)
    opened.wait_for_function(f"() => {STATUS}.includes('epoch 2 of 3') && {CURVES} > 0", timeout=RUN_SECONDS)
    opened.evaluate("() => window.app.api.interrupt()")
    metrics = server.base / "output" / "tastemaker" / "runs" / "in the page" / "metrics.jsonl"
    opened.wait_for_function("async () => (await window.app.api.getQueue()).Running.length === 0", timeout=60_000)
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == [1]


def test_run_again_goes_on_and_shows_every_epoch(opened: Any) -> None:
    press_run(opened)
    opened.wait_for_function(f"() => {STATUS}.startsWith('done') && {REWARD_POINTS} === 3", timeout=RUN_SECONDS)
    assert "epoch 3 of 3" in opened.evaluate(STATUS)
    grid = ".tastemaker-training img"
    opened.wait_for_function(f"() => document.querySelector('{grid}').naturalWidth > 100", timeout=30_000)
    opened.wait_for_function(
        "() => window.app.graph._nodes.find(n => n.type === 'TastemakerCompare').imgs?.[0]?.naturalWidth > 500",
        timeout=RUN_SECONDS,
    )
    opened.evaluate(
        """() => {
            const node = window.app.graph._nodes.find(n => n.type === 'TastemakerFineTune');
            Object.assign(window.app.canvas.ds, {scale: 0.9, offset: [60 - node.pos[0] + 300, 70 - node.pos[1]]});
            window.app.canvas.setDirty(true, true);
        }"""
    )
    opened.wait_for_timeout(1000)
    opened.screenshot(path=str(shots() / "page_training.png"))


def test_what_the_node_shows_is_not_saved_with_the_workflow(opened: Any) -> None:
    saved = opened.evaluate("() => window.app.graph.serialize().nodes.find(n => n.type === 'TastemakerFineTune')")
    assert len(saved["widgets_values"]) == 9  # the seed has no control that would change it
    assert "rows" not in json.dumps(saved)


NODE = "window.app.graph._nodes.find(n => n.type === 'TastemakerFineTune')"
SHOW = f"changes => {NODE}.onExecuted({{tastemaker_training: [{{state: 'done', epoch: 1, epochs: 1, ...changes}}]}})"


def test_another_runs_grids_are_shown_though_they_are_as_many(opened: Any) -> None:
    grids = opened.evaluate(f"() => {NODE}.tastemakerTraining.grids")
    assert len(grids) > 1
    shown = "() => document.querySelector('.tastemaker-training img').getAttribute('src')"
    opened.evaluate(SHOW, {"grids": grids})
    before = opened.evaluate(shown)
    opened.evaluate(SHOW, {"grids": grids[::-1]})
    assert opened.evaluate(shown) != before


LABELS = "() => [...document.querySelectorAll('.tastemaker-training svg')].map(e => e.getAttribute('aria-label'))"


def test_what_the_algorithm_reports_is_drawn(opened: Any) -> None:
    titles = [label.split(":")[0] for label in opened.evaluate(LABELS)]
    assert titles[:3] == ["reward", "gain", "diversity, %"]  # the preset's guard compares, at the latest at the end
    assert titles[3:5] == ["loss", "error in denoising its own pictures"]  # of matching, which the template learns by
    assert "gradient" in titles


def judged(gain: float, diversity: float) -> dict[str, Any]:
    rewards = {"a": {"gain_in_base_std": gain}, "watched: b": {"gain_in_base_std": -gain}}
    return {"rewards": rewards, "diversity_base": 0.2, "diversity_tuned": diversity, "kept_epoch": 1}


def test_what_comparisons_found_are_curves_and_the_kept_epoch_is_marked_and_said(opened: Any) -> None:
    rows = [{"reward": 1, "evaluation": judged(0.5, 0.15)}, {"reward": 2, "evaluation": judged(1.5, 0.1)}]
    opened.evaluate(SHOW, {"rows": rows})
    titles = ["reward: 2.00", "gain: a: 1.50", "watched: b: -1.50", "diversity, %: 50.0"]
    assert opened.evaluate(LABELS) == titles
    assert "best so far: epoch 1, marked" in opened.evaluate(STATUS)
    marks = "() => document.querySelectorAll('.tastemaker-training svg line[stroke=\"#5cbe7e\"]').length"
    assert opened.evaluate(marks) == 4
    opened.locator(".tastemaker-training .tm-charts").screenshot(path=str(shots() / "page_comparisons.png"))


def test_figures_of_any_algorithm_are_drawn_and_a_missing_reward_is_not(opened: Any) -> None:
    figures = [{"name": "entropy", "title": "entropy - 1", "floor": 0, "minus": 1}]
    opened.evaluate(SHOW, {"rows": [{"reward": None, "entropy": 3}], "figures": figures})
    assert opened.evaluate(LABELS) == ["entropy - 1: 2.00"]
    figures.append({"name": "distance", "title": "distance", "floor": 0, "minus": 0, "if_any": True})
    for distance, titles in ((0, 1), (0.5, 2)):  # one that is 0 throughout is left out
        opened.evaluate(SHOW, {"rows": [{"reward": None, "entropy": 3, "distance": distance}], "figures": figures})
        assert len(opened.evaluate(LABELS)) == titles


def test_a_page_opened_late_reads_of_the_first_epochs_in_the_runs_file(opened: Any) -> None:
    """As if the last of three epochs were all that this page had heard of."""
    opened.evaluate(
        """() => {
            const node = String(window.app.graph._nodes.find(n => n.type === 'TastemakerFineTune').id);
            const log = { filename: 'metrics.jsonl', subfolder: 'tastemaker/runs/in the page', type: 'output' };
            const news = { since: 2, rows: [{ epoch: 3, reward: 1 }], grids: [], figures: [], log };
            const detail = { node, state: 'heard late', epoch: 3, epochs: 3, ...news };
            window.app.api.dispatchEvent(new CustomEvent('tastemaker.training', { detail }));
        }"""
    )
    opened.wait_for_function(f"() => {STATUS}.startsWith('heard late') && {REWARD_POINTS} === 3", timeout=30_000)
    opened.evaluate("() => window.app.api.dispatchEvent(new CustomEvent('execution_success', { detail: {} }))")


def test_a_hostile_name_is_shown_as_text(opened: Any) -> None:
    hostile = "<img src=x onerror='window.hacked=1'>"
    opened.evaluate(
        """state => window.app.graph._nodes.find(n => n.type === 'TastemakerFineTune')
            .onExecuted({tastemaker_training: [{state, epoch: 1, epochs: 1, rows: [], grids: []}]})""",
        hostile,
    )
    assert hostile in opened.evaluate(STATUS)
    assert opened.evaluate("() => window.hacked") is None


def test_nothing_of_ours_complained(opened: Any) -> None:
    assert opened.console_problems == []

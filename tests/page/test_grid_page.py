"""Grid in the real page: cells appear, the best is marked, keys lead from cell to cell, a reload loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.page.conftest import READY, newcomer_seen, set_renderer, shots

pytestmark = pytest.mark.browser

GRID = "app.graph._nodes.find(n => n.type === 'TastemakerGrid')"
BUILD = """values => {
    app.graph.clear();
    const make = (type, x, y, given = {}) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        for (const [key, value] of Object.entries(given)) node.widgets.find(w => w.name === key).value = value;
        return node;
    };
    const model = make('TastemakerLoadModel', -360, 60);
    const reward = make('TastemakerLoadReward', -360, 260);
    const prompts = make('TastemakerPrompts', -360, 460, { text: 'a small yellow star on a purple background' });
    const grid = make('TastemakerGrid', 20, 60, values);
    grid.setSize([720, 1240]);
    model.connect(0, grid, grid.findInputSlot('model'));
    reward.connect(0, grid, grid.findInputSlot('reward'));
    prompts.connect(0, grid, grid.findInputSlot('prompts'));
    app.canvas.ds.scale = 0.75;
    app.canvas.ds.offset[0] = 480;
    app.canvas.ds.offset[1] = 20;
}"""
VALUES = {
    "columns": "guidance_scale",
    "column_values": "1, 3, 5",
    "rows": "steps",
    "row_values": "2, 6",
    "seeds": 4,
}
WATCH = f"""() => {{
    window.answered = 0;
    window.seen = [];
    const node = {GRID}, own = node.onExecuted;
    const count = () => window.seen.push(document.querySelectorAll('.tmg-picture:not([hidden])').length);
    window.watcher = setInterval(count, 50);
    node.onExecuted = function () {{
        own.apply(this, arguments);
        window.answered += 1;
        clearInterval(window.watcher);
    }};
}}"""
LOADED = """() => {
    const pictures = [...document.querySelectorAll('.tmg-picture:not([hidden])')];
    return pictures.length === 24 && pictures.every(p => p.complete && p.naturalWidth > 0);
}"""
FOCUS = "() => document.activeElement.getAttribute('aria-label')"
# the contrast of a text with what is behind it (WCAG 2), the panel's own ground where that is transparent
CONTRAST = """selector => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgb = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const over = (top, below) => top.map((v, i) => (v * top[3] + below[i] * (255 - top[3])) / 255);
    const light = ([r, g, b]) => [r, g, b]
        .map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    return [...document.querySelectorAll(selector)].filter(e => e.textContent.trim() && e.offsetHeight).map(e => {
        let ground = null;
        const layers = [];
        for (let at = e; at && !ground; at = at.parentElement) {
            const colour = rgb(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) ground = colour; else layers.unshift(colour);
        }
        for (const layer of layers) ground = over(layer, ground);
        const [a, b] = [light(over(rgb(getComputedStyle(e).color), ground)), light(ground)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    });
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("grid_page")
    newcomer_seen(base)
    with ComfyServer(base) as running:
        yield running


def run(page: Any) -> None:
    page.evaluate(WATCH)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("() => window.answered > 0", timeout=120_000)
    page.wait_for_function(LOADED, timeout=20_000)


@pytest.mark.parametrize("renderer", ["classic", "nodes 2.0"])
def test_a_grid_is_made_looked_at_and_kept(page: Any, server: Any, renderer: str) -> None:
    set_renderer(page, renderer)
    page.evaluate(BUILD, VALUES | {"seed": 100 if renderer == "classic" else 200})
    run(page)
    seen = page.evaluate("() => window.seen")
    assert any(0 < count < 24 for count in seen), seen  # cells came while others were made
    assert page.locator(".tmg-winner").count() == 1
    assert "\u2605" in page.locator(".tmg-winner .tmg-words").inner_text()
    means = page.locator(".tmg-margin .tmg-mean").all_inner_texts()
    assert len(means) == 5
    assert all("\u00b1" in text for text in means)
    page.screenshot(path=str(shots() / f"grid_{renderer.replace(' ', '_')}.png"))
    # the keyboard: from cell to cell, into the large view and back
    page.locator(".tmg-cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUS).startswith("guidance_scale 3, steps 6")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tastemaker-viewer[open]")
    assert "guidance_scale 3, steps 6" in page.locator(".tastemaker-viewer .tm-caption").last.inner_text()
    assert page.locator(".tm-pick-here:visible").count() == 0
    page.screenshot(path=str(shots() / f"grid_viewer_{renderer.replace(' ', '_')}.png"))
    page.keyboard.press("Escape")
    page.wait_for_selector(".tastemaker-viewer", state="detached")
    assert page.evaluate(FOCUS).startswith("guidance_scale 3, steps 6")
    page.get_by_role("button", name="See the labelled sheet large").click()
    page.wait_for_function("() => document.querySelector('.tastemaker-viewer .tm-right img').naturalWidth > 500")
    page.keyboard.press("Escape")
    page.wait_for_selector(".tastemaker-viewer", state="detached")
    # one seed in place of all
    page.locator(".tmg-choice").select_option("2")
    assert page.locator(".tmg-picture:not([hidden])").count() == 6
    page.locator(".tmg-cell").first.focus()
    page.keyboard.press("2")
    assert page.locator(".tmg-choice").input_value() == "1"
    page.keyboard.press("0")
    assert page.locator(".tmg-picture:not([hidden])").count() == 24
    # undo makes the node anew
    page.evaluate(f"() => {{ const n = {GRID}; app.graph.beforeChange(); n.pos[0] += 40; app.graph.afterChange(); }}")
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    page.wait_for_function(LOADED, timeout=20_000)
    assert page.locator(".tmg-winner").count() == 1
    assert page.console_problems == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_can_be_read(page: Any, server: Any, theme: str) -> None:
    set_renderer(page, "classic")
    page.evaluate(BUILD, VALUES | {"seed": 100})
    page.evaluate("theme => app.extensionManager.setting.set('Comfy.ColorPalette', theme)", theme)
    run(page)
    page.wait_for_timeout(300)
    page.screenshot(path=str(shots() / f"grid_{theme}.png"))
    for selector in (
        ".tmg-label",
        ".tmg-mean",
        ".tmg-words",
        ".tmg-best",
        ".tmg-status",
        ".tmg-report",
        ".tmg-caption",
    ):
        found = page.evaluate(CONTRAST, selector)
        assert found, selector
        assert min(found) >= 4.5, (selector, found)
    page.evaluate("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")


def test_a_third_setting_is_pages_and_a_reload_keeps_them(page: Any, server: Any) -> None:
    set_renderer(page, "classic")
    page.evaluate(BUILD, VALUES | {"seed": 100, "pages": "scheduler", "page_values": "ddim, euler"})
    page.evaluate(WATCH)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("() => window.answered > 0", timeout=120_000)
    assert page.locator(".tmg-which").inner_text().startswith("scheduler ddim")
    page.locator(".tmg-cell").first.focus()
    page.keyboard.press("PageDown")
    assert page.locator(".tmg-which").inner_text().startswith("scheduler euler")
    page.get_by_role("button", name="Go to the best cell").click()
    assert "the best cell" in page.evaluate(FOCUS)
    page.wait_for_timeout(1500)  # the page keeps its draft of the workflow
    page.reload()
    page.wait_for_function(READY, timeout=60_000)
    page.wait_for_function(f"() => {GRID}?.tastemakerGrid?.grid?.scores?.length === 48", timeout=20_000)

"""ComfyUI's real page, opened in Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import chromium
from scripts.chromium import READY
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real ComfyUI for each file: no other test has left anything in its folders."""
    from scripts.comfy.server import ComfyServer

    with ComfyServer(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def page(server: Any) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or chromium.find()
    if path is None:
        pytest.fail("no Chromium; set CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = chromium.opened(playwright, path)
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


def newcomer_seen(base: Path) -> None:
    """Folders of a host whose page greets nobody with a dialog."""
    (base / "custom_nodes").mkdir(exist_ok=True)
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"Comfy.TutorialCompleted": true}', encoding="ascii")


def close_templates(page: Any) -> None:
    """The page offers templates on the first visit to a host."""
    dialog = page.get_by_role("dialog").first
    dialog.wait_for(timeout=60_000)
    old = page.locator(".p-dialog-mask button:has(.pi-times)")  # the page of 0.3.75 does not listen to Escape there
    old.first.dispatch_event("click") if old.count() else page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


# an element as packs put one on their nodes, on a node in the middle of what is seen: whether the page shows it
_SHOWS_ELEMENTS = """async () => {
    const node = LiteGraph.createNode('PreviewImage'), element = document.createElement('div');
    element.textContent = 'probe';
    node.addDOMWidget('probe', 'probe', element, { serialize: false });
    const { scale, offset } = app.canvas.ds;
    node.pos = [600 / scale - offset[0], 300 / scale - offset[1]];
    app.graph.add(node);
    for (let i = 0; i < 50 && !element.offsetHeight; i += 1) await new Promise(done => setTimeout(done, 100));
    const shown = element.offsetHeight > 0;
    app.graph.remove(node);
    return shown;
}"""


def set_renderer(page: Any, renderer: str) -> None:
    """Choose "classic" or "nodes 2.0"; skips the test where the page has the latter as a preview only."""
    choose = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    page.evaluate(choose, renderer != "classic")
    page.wait_for_timeout(500)
    if renderer != "classic" and not page.evaluate(_SHOWS_ELEMENTS):
        page.evaluate(choose, False)
        pytest.skip("this page's Nodes 2.0 shows no element that a pack puts on a node (addDOMWidget)")


def shots() -> Path:
    """Where the tests leave pictures of the page."""
    folder = ROOT / ".cache" / "shots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def slide(slider: Any, value: int) -> None:
    """Move a slider as a hand does: some versions of Playwright and Chromium refuse to fill one."""
    slider.evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }",
        str(value),
    )

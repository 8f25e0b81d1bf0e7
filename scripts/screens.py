"""Take the pictures of `docs/screens.md` from the real page: every view once, as the templates fill it.

.venv/bin/python -m scripts.screens [--language de] [--to FOLDER] [NAME ...]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from . import chromium
from .chromium import READY
from .comfy.locate import ROOT
from .comfy.server import ComfyServer

SIZE = {"width": 1600, "height": 1000}
QUALITY = 85
SETTINGS = {
    "Comfy.Minimap.Visible": False,
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}
PATIENCE = 300_000  # milliseconds for a run
RUN = """() => {
    window.ended = false;
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, () => { window.ended = true; });
    app.queuePrompt(0);
}"""
SET = """([type, values]) => {
    for (const node of app.graph._nodes)
        for (const widget of node.widgets ?? [])
            if (node.type === type && widget.name in values) widget.value = values[widget.name];
}"""
# the whole graph, or one node, as large as it can be seen
FIT = """type => {
    const nodes = app.graph._nodes.filter(n => !type || n.type === type);
    const least = axis => Math.min(...nodes.map(n => n.pos[axis])) - (axis ? 60 : 30);
    const most = axis => Math.max(...nodes.map(n => n.pos[axis] + n.size[axis])) + 30;
    const [left, top] = [least(0), least(1)], [wide, high] = [most(0) - left, most(1) - top];
    const scale = Math.min((innerWidth - 90) / wide, (innerHeight - 140) / high, 1.3);
    const room = [(innerWidth + 60 - wide * scale) / 2, 115 + (innerHeight - 140 - high * scale) / 2 - 35];
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset[0] = room[0] / scale - left;
    app.canvas.ds.offset[1] = room[1] / scale - top;
    app.canvas.setDirty(true, true);
}"""
PICTURES = """() => [...document.images].every(one => !one.offsetParent || !one.src || one.complete)"""


class Camera:
    """The page, and where its pictures go."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder = page, folder

    def open(self, template: str, **values: dict[str, Any]) -> None:
        """Open a template on an empty canvas, with other values by type of node."""
        self.page.evaluate("() => document.querySelectorAll('dialog[open]').forEach(one => one.close())")
        graph = json.loads((ROOT / "workflows" / f"{template}.json").read_text(encoding="utf-8"))
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)
        self.page.wait_for_function("count => app.graph._nodes.length === count", arg=len(graph["nodes"]))
        for kind, some in values.items():
            self.page.evaluate(SET, [kind, some])
        self.page.wait_for_timeout(500)

    def run(self) -> None:
        """Run the graph to its end."""
        self.page.evaluate(RUN)
        self.page.wait_for_function("() => window.ended", timeout=PATIENCE)
        self.page.wait_for_timeout(6000)  # the page's own note that it has run goes

    def fit(self, kind: str = "") -> None:
        self.page.evaluate(FIT, kind)
        self.page.wait_for_timeout(700)

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def shot(self, name: str) -> None:
        """Keep what is seen."""
        self.page.wait_for_function(PICTURES, timeout=30_000)
        self.page.wait_for_timeout(700)
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        picture.save(self.folder / f"{name}.jpg", "JPEG", quality=QUALITY, optimize=True)


def templates(camera: Camera) -> None:
    """Take the template browser, as a new host shows it."""
    page = camera.page
    page.get_by_role("dialog").get_by_text("tastemaker", exact=True).first.click()
    page.get_by_test_id("template-workflow-best_of_batch").wait_for(timeout=30_000)
    page.wait_for_timeout(2500)
    camera.shot("templates")


def rank(camera: Camera) -> None:
    """Rank a batch; look through it, compare two, ask why."""
    page = camera.page
    camera.open("best_of_batch")
    camera.run()
    camera.fit()
    camera.shot("rank")
    page.locator(".tastemaker-ranking .tm-cell").nth(4).wait_for(state="attached")
    page.locator(".tm-list").focus()
    camera.keys("Home", "f")
    page.locator(".tastemaker-cull[open]").wait_for()
    camera.keys("5", "p", "ArrowRight", "4", "p", "ArrowRight", "4", "ArrowRight", "2", "End", "x", "ArrowLeft", "x")
    camera.keys("Home", "ArrowRight", "i")
    camera.shot("cull")
    camera.keys("Home", "c")
    camera.shot("compare")
    camera.keys("Escape", "Home", "Enter", "w")
    page.locator(".tmw-part").first.wait_for(timeout=PATIENCE)
    camera.shot("why")
    camera.keys("h")
    camera.shot("where")


def taste(camera: Camera) -> None:
    camera.open("teach_my_taste")
    camera.run()
    camera.fit("TastemakerLearnTaste")
    camera.page.evaluate("() => app.graph._nodes.find(n => n.tastemakerTaste).tastemakerTaste.view.open()")
    camera.page.locator(".tmt-picture").first.wait_for()
    camera.shot("teach")


def vote(camera: Camera) -> None:
    camera.open("blind_vote")
    camera.run()
    camera.page.evaluate("() => app.graph._nodes.find(n => n.tastemakerVote).tastemakerVote.open()")
    camera.page.locator(".tmv-picture").first.wait_for()
    camera.keys("ArrowLeft", "ArrowRight")
    camera.shot("vote")


def grid(camera: Camera) -> None:
    camera.open("grid", TastemakerGrid={"seeds": 2})
    camera.run()
    camera.fit("TastemakerGrid")
    camera.shot("grid")


def search(camera: Camera) -> None:
    camera.open(
        "search",
        TastemakerSearch={"method": "particle steering", "budget": 48, "steps": 6, "eta": 1.0, "look_every": 1},
    )
    camera.run()
    camera.fit("TastemakerSearch")
    camera.shot("search")


def own_graph(camera: Camera) -> None:
    camera.open("rank_my_own_graph")
    camera.fit()
    camera.shot("own_graph")


def fine_tune(camera: Camera) -> None:
    """Train shortly: this is what the panel looks like, no result."""
    small = {"epochs": 2, "samples_per_epoch": 8, "steps": 6, "rank": 4}
    camera.open("fine_tune", TastemakerFineTune=small, TastemakerSample={"images_per_prompt": 1, "steps": 4})
    camera.run()
    camera.fit("TastemakerFineTune")
    camera.shot("fine_tune")


TAKEN: dict[str, Callable[[Camera], None]] = {
    one.__name__: one for one in (templates, rank, taste, vote, grid, search, own_graph, fine_tune)
}


def main() -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *TAKEN], help="only these")
    parser.add_argument("--language", default="en", help="the page's language")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "screens", help="the folder of the pictures")
    chosen = parser.parse_args()
    path = chromium.find_or_get()
    if path is None:
        raise SystemExit("[tastemaker] no Chromium could be found.")
    chosen.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server, sync_playwright() as playwright:
        browser = chromium.opened(playwright, path)
        page = browser.new_page(viewport=SIZE)
        page.goto(server.address)
        page.wait_for_function(READY, timeout=60_000)
        page.get_by_role("dialog").first.wait_for(timeout=60_000)
        camera = Camera(page, chosen.to)
        if "templates" in (chosen.names or TAKEN):
            templates(camera)
        page.evaluate("l => app.extensionManager.setting.set('Comfy.Locale', l)", chosen.language)
        for setting, value in SETTINGS.items():
            page.evaluate("([s, v]) => app.extensionManager.setting.set(s, v)", [setting, value])
        page.wait_for_timeout(500)
        page.reload()
        page.wait_for_function(READY, timeout=60_000)
        page.wait_for_timeout(2000)
        page.keyboard.press("Escape")
        offer = page.get_by_text("Nodes 2.0", exact=False).first
        if offer.is_visible():  # a line that older hosts show above everything
            page.mouse.click(SIZE["width"] - 32, offer.bounding_box()["y"] + 8)
            page.wait_for_timeout(500)
        for name in [name for name in chosen.names or TAKEN if name != "templates"]:
            TAKEN[name](camera)
            print(f"[tastemaker] {name}")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

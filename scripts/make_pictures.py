"""Take the README's pictures from the real page: `docs/graph.jpg` and `docs/ranked.png`.

.venv/bin/python -m scripts.make_pictures
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

from . import chromium
from .chromium import READY
from .comfy.client import ComfyClient
from .comfy.locate import ROOT
from .comfy.server import ComfyServer

ROWS = "() => document.querySelectorAll('.tastemaker-ranking .tm-cell').length > 4"
# where on the page the graph is, with a margin: [left, top, right, bottom]
BOX = """() => {
    const { scale, offset } = app.canvas.ds, { left, top } = app.canvas.canvas.getBoundingClientRect();
    const frames = app.graph._nodes.concat(app.graph._groups).map(n => [n.pos, n.size]);
    const at = (v, axis) => (v + offset[axis]) * scale + [left, top][axis];
    return [
        Math.min(...frames.map(([p]) => at(p[0], 0))) - 12, Math.min(...frames.map(([p]) => at(p[1], 1))) - 34,
        Math.max(...frames.map(([p, s]) => at(p[0] + s[0], 0))) + 12,
        Math.max(...frames.map(([p, s]) => at(p[1] + s[1], 1))) + 12,
    ].map(Math.round);
}"""


def main() -> None:
    from playwright.sync_api import sync_playwright

    path = chromium.find_or_get()
    if path is None:
        raise SystemExit("[tastemaker] no Chromium could be found.")
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server, sync_playwright() as playwright:
        browser = chromium.opened(playwright, path)
        page = browser.new_page(viewport={"width": 2400, "height": 1200})
        page.goto(server.address)
        page.wait_for_function(READY, timeout=60_000)
        card = page.get_by_test_id("template-workflow-best_of_batch")
        page.get_by_role("dialog").get_by_placeholder("Search").fill("best_of_batch")
        card.click(timeout=30_000)
        page.wait_for_function("() => app.graph._nodes.length === 8")
        page.get_by_test_id("close-minmap-button").click()
        page.get_by_test_id("queue-button").click()
        page.wait_for_function(ROWS, timeout=300_000)
        page.wait_for_timeout(4000)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.crop(page.evaluate(BOX)).save(docs / "graph.jpg", "JPEG", quality=88)
        outputs = next(iter(ComfyClient(server.address).get("/history").values()))["outputs"]
        ranked = next(o for o in outputs.values() if "tastemaker_ranking" in o)
        (docs / "ranked.png").write_bytes(ComfyClient(server.address).file(ranked["tastemaker_sheet"][0]))
        browser.close()
    print("[tastemaker] wrote docs/graph.jpg and docs/ranked.png")


if __name__ == "__main__":
    main()

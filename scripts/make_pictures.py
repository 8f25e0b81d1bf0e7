"""Take the README's pictures from the real page: `docs/graph.jpg` and `docs/ranked.png`.

.venv/bin/python -m scripts.make_pictures
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

from PIL import Image

from . import chromium
from .comfy.client import ComfyClient
from .comfy.locate import ROOT
from .comfy.server import ComfyServer

READY = "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.TastemakerRank)"
ROWS = "() => document.querySelectorAll('.tastemaker-ranking tr').length > 4"
# the part of the canvas that the nodes fill, put in the middle of the window
FIT = "() => { const c = app.canvas; c.ds.scale = 0.8; c.ds.offset = [110, 70]; c.setDirty(true, true); }"


def main() -> None:
    from playwright.sync_api import sync_playwright

    path = chromium.find_or_get()
    if path is None:
        raise SystemExit("[tastemaker] no Chromium could be found.")
    graph = json.loads((ROOT / "workflows" / "best_of_batch.json").read_text(encoding="utf-8"))
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1900, "height": 960})
        page.goto(server.address)
        page.wait_for_function(READY, timeout=60_000)
        page.wait_for_timeout(3000)
        page.keyboard.press("Escape")  # the template dialog of a first visit
        page.evaluate("graph => window.app.loadGraphData(graph)", graph)
        page.evaluate(FIT)
        page.evaluate("() => window.app.queuePrompt(0)")
        page.wait_for_function(ROWS, timeout=300_000)
        page.wait_for_timeout(2500)
        page.evaluate(FIT)
        page.wait_for_timeout(2500)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.save(docs / "graph.jpg", "JPEG", quality=88)
        outputs = next(iter(ComfyClient(server.address).get("/history").values()))["outputs"]
        ranked = next(o for o in outputs.values() if "tastemaker_ranking" in o)
        (docs / "ranked.png").write_bytes(ComfyClient(server.address).file(ranked["images"][0]))
        browser.close()
    print("[tastemaker] wrote docs/graph.jpg and docs/ranked.png")


if __name__ == "__main__":
    main()

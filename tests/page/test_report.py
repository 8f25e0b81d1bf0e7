"""A folder ranked in the real page, as an artist would: the broken files are on the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.page.conftest import close_templates, shots

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror='window.hacked=1'>.png"


def fill(folder: Path) -> None:
    """Sixteen pictures as best_of_batch saves them, and three files that are none."""
    folder.mkdir(parents=True)
    ground = np.mgrid[0:64, 0:64].sum(0)[..., None]  # (H, W, 1)
    for i in range(16):
        info = PngInfo()
        record = {"prompt": "a large red heart on a blue background", "seed": i}
        info.add_text("tastemaker", json.dumps(record))
        colour = np.random.default_rng(i).integers(0, 128, 3)
        Image.fromarray((ground + colour).clip(0, 255).astype(np.uint8)).save(folder / f"best_{i}.png", pnginfo=info)
    whole = (folder / "best_0.png").read_bytes()
    (folder / "cut off.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a web page.jpg").write_text("<html>")
    (folder / HOSTILE).write_bytes(b"x")


def report(page: Any, kind: str) -> str:
    return page.evaluate(
        """kind => app.graph._nodes.find(n => n.type === kind)
            .widgets.find(w => w.name === "report").element.textContent""",
        kind,
    )


def test_a_folder_is_ranked_and_the_broken_files_are_listed(page: Any, server: Any, workflow: Any) -> None:
    fill(server.output / "tastemaker")
    close_templates(page)
    page.evaluate("graph => window.app.loadGraphData(graph)", workflow("rank_folder"))
    page.wait_for_function("() => window.app.graph._nodes.length === 6")
    assert "Run the graph" in report(page, "TastemakerLoadImages")
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(
        """() => app.graph._nodes.find(n => n.type === "TastemakerScore").widgets
            .find(w => w.name === "report").element.textContent.includes("scored")""",
        timeout=240_000,
    )
    found = report(page, "TastemakerLoadImages")
    assert "output/tastemaker: 16 pictures" in found
    assert "- cut off.png: ends too early" in found
    assert "- a web page.jpg: is no PNG" in found
    assert f"- {HOSTILE}: " in found
    assert "16 of 16 pictures scored" in report(page, "TastemakerScore")
    assert page.locator(".tastemaker-report img").count() == 0
    assert page.evaluate("() => window.hacked") is None
    page.wait_for_timeout(1500)
    page.evaluate(
        "() => { app.canvas.ds.scale = 0.72; app.canvas.ds.offset = [110, 130]; app.graph.setDirtyCanvas(true); }"
    )
    page.wait_for_timeout(500)
    page.screenshot(path=str(shots() / "rank_folder.png"))
    saved = page.evaluate("() => JSON.parse(JSON.stringify(window.app.graph.serialize()))")
    stored = {n["id"]: n["widgets_values"] for n in workflow("rank_folder")["nodes"]}
    assert {n["id"]: n["widgets_values"] for n in saved["nodes"]} == stored
    assert page.console_problems == []

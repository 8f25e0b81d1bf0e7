"""A graph of a Playground-layout model, a LoRA and a refiner, built node by node in the real page."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.workflows.stand_ins import LORA, PLAYGROUND, REFINER, write_stand_ins
from tests.page.conftest import close_templates, shots

pytestmark = pytest.mark.browser

# type, place, widgets
NODES = {
    "model": ("TastemakerLoadModel", (60, 80), {"model": PLAYGROUND}),
    "lora": ("TastemakerLoadLoRA", (60, 260), {"lora": LORA, "strength": 0.5}),
    "refiner": ("TastemakerLoadModel", (60, 480), {"model": REFINER}),
    "prompts": ("TastemakerPrompts", (60, 640), {"text": "a large red heart on a blue background"}),
    "sample": (
        "TastemakerSample",
        (480, 80),
        {
            **{"images_per_prompt": 2, "seed": 3, "scheduler": "model default", "steps": 10, "guidance_scale": 3},
            **{"height": 64, "width": 64},
        },
    ),
    "save": ("SaveImage", (900, 80), {"filename_prefix": "tastemaker/built"}),
}
WIRES = (
    ("model", "model", "lora", "model"),
    ("lora", "model", "sample", "model"),
    ("prompts", "prompts", "sample", "prompts"),
    ("refiner", "model", "sample", "refiner"),
    ("sample", "images", "save", "images"),
)
BUILD = """({ nodes, wires }) => {
    app.graph.clear();
    const made = {};
    for (const [name, [type, pos, values]] of Object.entries(nodes)) {
        const node = made[name] = LiteGraph.createNode(type);
        node.pos = pos;
        app.graph.add(node);
        for (const [key, value] of Object.entries(values)) {
            const widget = node.widgets.find(w => w.name === key);
            const { values: listed } = widget.options;
            if (listed && !listed.includes(value)) throw new Error(`${key} has no ${value}`);
            widget.value = value;
        }
    }
    for (const [from, output, to, input] of wires) {
        const link = made[from].connect(made[from].findOutputSlot(output), made[to], made[to].findInputSlot(input));
        if (!link) throw new Error(`${from}.${output} does not go into ${to}.${input}`);
    }
    return made.save.id;
}"""
ARRIVED = "id => app.graph.getNodeById(id).imgs?.length === 2 && app.graph.getNodeById(id).imgs[1].naturalWidth === 64"


@pytest.fixture(scope="module", autouse=True)
def models(server: Any) -> None:
    """On disk before the page asks which there are."""
    write_stand_ins(server.base / "models")


def test_a_graph_built_in_the_page_runs_and_its_pictures_arrive(page: Any, server: Any, client: Any) -> None:
    close_templates(page)
    saves = page.evaluate(BUILD, {"nodes": NODES, "wires": WIRES})
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(ARRIVED, arg=saves, timeout=120_000)
    page.screenshot(path=str(shots() / "page_built.png"))
    run = list(client.get("/history").values())[-1]
    assert run["status"]["status_str"] == "success"
    names = [entry["filename"] for entry in run["outputs"][str(saves)]["images"]]
    assert names == ["built_00001_.png", "built_00002_.png"]
    assert all((server.output / "tastemaker" / name).is_file() for name in names)
    # what the server ran is what was built
    types = sorted(node["class_type"] for node in run["prompt"][2].values())
    assert types == sorted(type_ for type_, _, _ in NODES.values())
    assert page.console_problems == []

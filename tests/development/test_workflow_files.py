"""The example workflows as files: readable when opened, nodes in their groups, no link behind another node."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from typing import Any

import pytest
from PIL import Image

from scripts.workflows.cards import HEAD, SIDE, START, TITLES, card
from tastemaker.plots.theme import BACKGROUND, GOLD
from tests.conftest import ROOT

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
TITLE = 30  # of a node, above its position
# the page fits a graph, with a margin of 10, into three quarters of the window, and hides text where that makes it
# smaller than this
WINDOW, SHARE, SMALLEST, MARGIN = (1600, 1000), 0.75, 0.5715, 10


def box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def path_of(link: list[Any], nodes: dict[int, Any], extra: dict[str, Any]) -> list[tuple[float, float]]:
    """Corners of a link: where it leaves, its reroutes, where it arrives."""
    number, source, output, target, place, _ = link
    reroutes = {r["id"]: r for r in extra.get("reroutes", [])}
    ends = {e["id"]: e["parentId"] for e in extra.get("linkExtensions", [])}
    points, at = [], ends.get(number)
    while at is not None:
        points.insert(0, tuple(reroutes[at]["pos"]))
        at = reroutes[at].get("parentId")
    start, end = nodes[source], nodes[target]
    return [
        (start["pos"][0] + start["size"][0], start["pos"][1] + 14 + 20 * output),
        *points,
        (end["pos"][0], end["pos"][1] + 14 + 20 * place),
    ]


def passes(path: list[tuple[float, float]], around: tuple) -> bool:
    left, top, right, bottom = around
    for (x0, y0), (x1, y1) in pairwise(path):
        for step in range(1, 200):
            x, y = x0 + (x1 - x0) * step / 200, y0 + (y1 - y0) * step / 200
            if left < x < right and top < y < bottom:
                return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_large_enough_to_read(workflow: Any, name: str) -> None:
    boxes = [box(node) for node in workflow(name)["nodes"]]
    wide = max(b[2] for b in boxes) - min(b[0] for b in boxes) + 2 * MARGIN
    high = max(b[3] for b in boxes) - min(b[1] for b in boxes) + 2 * MARGIN
    assert min(WINDOW[0] / wide, WINDOW[1] / high) * SHARE >= SMALLEST


@pytest.mark.parametrize("name", NAMES)
def test_where_the_file_says_all_of_it_is_seen_and_readable(workflow: Any, name: str) -> None:
    """Pages that do not fit templates look there: 60 pixels on the left and 100 above are the page's own."""
    graph = workflow(name)
    scale, offset = graph["extra"]["ds"]["scale"], graph["extra"]["ds"]["offset"]
    assert scale >= SMALLEST
    boxes = [box(node) for node in graph["nodes"]]
    assert (min(b[0] for b in boxes) + offset[0]) * scale > 60
    assert (min(b[1] for b in boxes) + offset[1]) * scale > 100
    assert (max(b[2] for b in boxes) + offset[0]) * scale < WINDOW[0]
    assert (max(b[3] for b in boxes) + offset[1]) * scale < WINDOW[1]


@pytest.mark.parametrize("name", NAMES)
def test_nodes_lie_apart_and_inside_one_group(workflow: Any, name: str) -> None:
    graph = workflow(name)
    for a, b in combinations(graph["nodes"], 2):
        assert not overlap(box(a), box(b)), (a["type"], b["type"])
    frames = [(x, y, x + w, y + h) for x, y, w, h in (group["bounding"] for group in graph["groups"])]
    for a, b in combinations(frames, 2):
        assert not overlap(a, b)
    for node in graph["nodes"]:
        around = [f for f in frames if overlap(box(node), f)]
        if node["type"] == "MarkdownNote":
            assert around == []
        else:
            (frame,) = around
            assert frame[0] < box(node)[0]
            assert frame[1] < box(node)[1]
            assert box(node)[2] < frame[2]
            assert box(node)[3] < frame[3]


@pytest.mark.parametrize("name", NAMES)
def test_no_link_passes_behind_a_node_that_it_does_not_belong_to(workflow: Any, name: str) -> None:
    graph = workflow(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link in graph["links"]:
        path = path_of(link, nodes, graph["extra"])
        for number, node in nodes.items():
            if number not in (link[1], link[3]):
                assert not passes(path, box(node)), (link, node["type"])


@pytest.mark.parametrize("name", NAMES)
def test_notes_hold_no_code_spans(workflow: Any, name: str) -> None:
    """The page's new renderer draws them blue on blue."""
    notes = [node["widgets_values"][0] for node in workflow(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert notes
    assert all("`" not in note for note in notes)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_its_code_writes(client: Any, workflow: Any, name: str) -> None:
    from scripts.workflows.__main__ import WORKFLOWS

    made = json.loads(json.dumps(WORKFLOWS[name](client.get("/object_info"))))
    folder = next((n for n in made["nodes"] if n["type"] == "TastemakerLoadImages"), None)
    assert folder is None or folder["widgets_values"][0] == "output/tastemaker"
    assert made == workflow(name)


def test_every_template_has_a_title_on_its_card() -> None:
    """The page's browser shows file names: what a template is for has to be in its picture, and one says start here."""
    assert set(TITLES) == set(NAMES)
    assert START in TITLES
    for name in NAMES:
        with Image.open(ROOT / "workflows" / f"{name}.jpg") as shown:
            assert shown.size == (SIDE, SIDE)
    wide, tall = (card(START, Image.new("RGB", size, "red")) for size in ((900, 300), (300, 900)))
    for made in (wide, tall):
        assert made.size == (SIDE, SIDE)
        assert made.getpixel((SIDE // 2, HEAD + 5)) == (255, 0, 0)
        assert made.getpixel((SIDE // 2, 3)) == BACKGROUND
        assert GOLD in {colour for _, colour in made.getcolors(100_000)}  # "Start here"
    assert GOLD not in {c for _, c in card("search", Image.new("RGB", (900, 300), "red")).getcolors(100_000)}


@pytest.mark.parametrize("name", ["best_of_batch", "rank_folder", "rank_my_own_graph", "teach_my_taste", "fine_tune"])
def test_it_is_an_app_too_where_the_page_has_them(workflow: Any, name: str) -> None:
    graph = workflow(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    app = graph["extra"]["linearData"]
    assert graph["extra"]["linearMode"] is False  # the graph first, the app at a click
    panels = {"ranking": "TastemakerRank", "teaching": "TastemakerLearnTaste", "training": "TastemakerFineTune"}
    for number, widget, *_ in app["inputs"]:
        shown = [slot["name"] for slot in nodes[number]["inputs"] if "widget" in slot]
        assert widget in shown or nodes[number]["type"] == panels[widget]
    assert {nodes[number]["type"] for number in app["outputs"]} <= {
        "TastemakerRank",
        "TastemakerSaveRanked",
        "TastemakerLearnTaste",
        "TastemakerRewardCurve",
        "TastemakerCompare",
    }
    assert app["outputs"]


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_a_template_is_run(client: Any, name: str) -> None:
    """ComfyUI runs what leads to a node that shows or saves something: nothing stands in a template for nothing."""
    graph = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    used = {link[1] for link in graph["links"]}
    ends = {node["type"] for node in graph["nodes"] if node["id"] not in used} - {"MarkdownNote"}
    known = client.get("/object_info")
    assert ends
    assert {kind for kind in ends if not known[kind]["output_node"]} == set()

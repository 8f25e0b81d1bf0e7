"""Graphs in code to workflow files as ComfyUI's page saves them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from tastemaker.loaders.catalogue import missing_model_entry

from ..comfy.graph import _WIDGETS
from .layout import Group, Node, around, box, slot

_PANEL = 440  # pixels
_CORNER, _WINDOW = (90, 130), (1480, 840)  # of a window of 1600 x 1000, what menu and sidebar leave


def _is_widget(spec: list[Any]) -> bool:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return (isinstance(kind, list) or kind in _WIDGETS) and not options.get("forceInput")


def _inputs(info: dict[str, Any]) -> dict[str, list[Any]]:
    return {n: s for part in ("required", "optional") for n, s in info["input"].get(part, {}).items()}


class _Links:
    """The links of a graph, numbered as they are made."""

    def __init__(self, ids: dict[int, int], object_info: dict[str, Any]) -> None:
        self._ids, self._info = ids, object_info
        self.all: list[list[Any]] = []

    def add(self, source: Node, output: str, target: Node, place: int) -> int:
        info = self._info[source.type]
        slot = info["output_name"].index(output)
        number = len(self.all) + 1
        self.all.append([number, self._ids[id(source)], slot, self._ids[id(target)], place, info["output"][slot]])
        return number

    def leaving(self, node: int, slot: int) -> list[int] | None:
        return [link[0] for link in self.all if link[1:3] == [node, slot]] or None


def _slots(node: Node, specs: dict[str, list[Any]], links: _Links) -> list[dict[str, Any]]:
    """Input slots: sockets first, then one for each widget, as the page saves them."""
    slots: list[dict[str, Any]] = []
    for name, spec in specs.items():
        if not _is_widget(spec):
            link = links.add(*node.wires[name], node, len(slots)) if name in node.wires else None
            slots.append({"name": name, "type": spec[0], "link": link})
    for name, spec in specs.items():
        if _is_widget(spec):
            kind = "COMBO" if isinstance(spec[0], list) else spec[0]
            slots.append({"name": name, "type": kind, "widget": {"name": name}, "link": None})
    return slots


def _values(node: Node, specs: dict[str, list[Any]]) -> list[Any]:
    """Widget values in order: those given, else the defaults; a seed is followed by its own control."""
    values: list[Any] = []
    for name, spec in specs.items():
        if _is_widget(spec):
            options = spec[1] if len(spec) > 1 else {}
            values.append(node.values.get(name, options.get("default")))
            if options.get("control_after_generate"):
                values.append("fixed")
    return values


@dataclass(frozen=True)
class App:
    """What pages with an App mode show in place of the graph.

    Attributes:
        inputs: widgets to fill in, each with the words it shows in place of its id, on the node too.
        outputs: nodes whose results are shown.
        panels: what `web/shared/panel.js` puts on nodes, by its name there, shown below the widgets.
    """

    inputs: list[tuple[Node, str, str]]
    outputs: list[Node]
    panels: list[tuple[Node, str]] = field(default_factory=list)


def build(
    name: str, nodes: list[Node], groups: list[Group], object_info: dict[str, Any], app: App | None = None
) -> dict[str, Any]:
    """Return a workflow. Every widget is set from `values` or its default; unknown names raise KeyError."""
    ids = {id(node): i for i, node in enumerate(nodes, start=1)}
    links, saved = _Links(ids, object_info), []
    for node in nodes:
        if node.type == "MarkdownNote":
            saved.append(_note(ids[id(node)], node))
            continue
        info = object_info[node.type]
        specs = _inputs(info)
        unknown = set(node.values) - set(specs) | set(node.wires) - set(specs)
        if unknown:
            raise KeyError(f"{node.type} has no input {', '.join(sorted(unknown))}")
        saved.append(_node(ids[id(node)], node, info, _slots(node, specs, links), _values(node, specs)))
    for entry in saved:
        for place, output in enumerate(entry["outputs"]):
            output["links"] = links.leaving(entry["id"], place)
    for node, widget, label in app.inputs if app else ():
        slots = saved[ids[id(node)] - 1]["inputs"]
        next(slot for slot in slots if slot["name"] == widget)["label"] = label
    frames = [
        {"id": i, "title": g.title, "bounding": list(g.bounding), "color": g.colour, "font_size": 24, "flags": {}}
        for i, g in enumerate(groups, start=1)
    ]
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"tastemaker/{name}")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links.all),
        "nodes": saved,
        "links": links.all,
        "groups": frames,
        "config": {},
        "extra": {
            "ds": _view(nodes),
            **_routes(nodes, ids, links.all),
            **(_linear(app, ids, object_info) if app else {}),
        },
        "version": 0.4,
    }


def _view(nodes: list[Node]) -> dict[str, Any]:
    """Return where the page looks when it opens a file: at the whole graph, as large as a usual window lets it be.

    Newer pages fit templates into the window by themselves.
    """
    boxes = [box(node) for node in nodes]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    wide, high = max(b[2] for b in boxes) - left, max(b[3] for b in boxes) - top
    scale = min(0.75, _WINDOW[0] / wide, _WINDOW[1] / high)
    return {"scale": round(scale, 3), "offset": [round(_CORNER[0] / scale - left), round(_CORNER[1] / scale - top)]}


def _linear(app: App, ids: dict[int, int], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return what the page saves of an app. Raises KeyError for a widget that the node does not have."""
    for node, name, _ in app.inputs:
        if name not in _inputs(object_info[node.type]):
            raise KeyError(f"{node.type} has no input {name}")
    return {
        "linearMode": False,  # the graph first: its app is one click away where the host has App mode
        "linearData": {
            "inputs": [
                *([ids[id(node)], name] for node, name, _ in app.inputs),
                *([ids[id(node)], name, {"height": _PANEL}] for node, name in app.panels),
            ],
            "outputs": [ids[id(node)] for node in app.outputs],
        },
    }


def _routes(nodes: list[Node], ids: dict[int, int], links: list[list[Any]]) -> dict[str, Any]:
    """Reroutes of the links that would pass behind other nodes, as the page saves them."""
    by_id = {ids[id(node)]: node for node in nodes}
    reroutes: list[dict[str, Any]] = []
    ends, taken = [], []
    for number, source, output, target, place, _ in links:
        start, end = slot(by_id[source], output, output=True), slot(by_id[target], place, output=False)
        others = [node for node in nodes if ids[id(node)] not in (source, target)]
        parent = None
        for x, y in around(start, end, others, taken):
            entry = {"id": len(reroutes) + 1, "pos": [round(x), round(y)], "linkIds": [number]}
            reroutes.append(entry if parent is None else {"parentId": parent, **entry})
            parent = entry["id"]
        if parent is not None:
            ends.append({"id": number, "parentId": parent})
    return {"reroutes": reroutes, "linkExtensions": ends} if reroutes else {}


def _node(
    number: int, node: Node, info: dict[str, Any], slots: list[dict[str, Any]], values: list[Any]
) -> dict[str, Any]:
    entry = {
        "id": number,
        "type": node.type,
        "pos": list(node.pos),
        "size": list(node.size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": slots,
        "outputs": [
            {"name": name, "type": kind, "links": None}
            for name, kind in zip(info["output_name"], info["output"], strict=True)
        ],
        "properties": {"Node name for S&R": node.type},
        "widgets_values": values,
    }
    models = [found for value in values if isinstance(value, str) and (found := missing_model_entry(value))]
    if models:  # the page offers to get those of them that are not there
        entry["properties"]["models"] = models
    if node.title:
        entry["title"] = node.title
    return entry


def _note(number: int, node: Node) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": list(node.pos),
        "size": list(node.size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": node.title or "Read me",
        "properties": {},
        "widgets_values": [node.values["text"]],
        "color": "#432",
        "bgcolor": "#3a3020",
    }

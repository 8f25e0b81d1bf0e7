"""Blueprints, written into `subgraphs/`: several nodes that the page offers as one, under *Subgraph Blueprints*."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from .builder import build
from .layout import Node, lay_out

_IN, _OUT = -10, -20  # how the page calls the two ends of a subgraph


@dataclass(frozen=True)
class Blueprint:
    """A subgraph to be.

    Attributes:
        description, words: shown and searched by pages that know them.
        columns: its nodes, from left to right.
        inputs: its own inputs, each with the inputs inside that it leads to; those of widgets are widgets outside too.
        outputs: its own outputs, each with the node and output that it comes from.
    """

    description: str
    words: tuple[str, ...]
    columns: list[list[Node]]
    inputs: dict[str, list[tuple[Node, str]]]
    outputs: dict[str, tuple[Node, str]]


def rank_a_batch() -> Blueprint:
    """Take pictures, give the best of them."""
    reward = Node("TastemakerLoadReward", {"reward": "imagereward-v1.0"})
    score = Node("TastemakerScore", {}, {"reward": (reward, "reward")})
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (score, "scores")})
    return Blueprint(
        "Keeps the best pictures of any node. Without prompts it reads your sampler's text. "
        "Open it to see all, ranked.",
        ("best of", "rank", "aesthetic", "imagereward", "gallery", "cull", "star"),
        [[reward, score], [rank]],
        {
            "images": [(score, "images")],
            "prompts": [(score, "prompts")],
            "reward": [(reward, "reward")],
            "keep": [(rank, "top_k")],
        },
        {"best": (rank, "best"), "best scores": (rank, "best scores"), "all scores": (rank, "all scores")},
    )


def teach_my_taste() -> Blueprint:
    """Take pictures, give a taste and the best by it."""
    reward = Node("TastemakerLoadReward", {"reward": "imagereward-v1.0"})
    score = Node("TastemakerScore", {}, {"reward": (reward, "reward")})
    learn = Node(
        "TastemakerLearnTaste",
        {"name": "my taste", "clicks_first": 20},
        {"scores": (score, "scores"), "reward": (reward, "reward")},
        size=(400, 700),
    )
    mine = Node("TastemakerScore", {}, {"reward": (learn, "taste")}, title="Score by your taste")
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (mine, "scores")})
    return Blueprint(
        "Shows six pictures, you pick the best; thirty clicks later it sorts like you. Open it to press Teach.",
        ("taste", "preference", "personal taste", "like", "teach", "my style"),
        [[reward, score], [learn, mine], [rank]],
        {
            "images": [(score, "images"), (mine, "images")],
            "prompts": [(score, "prompts"), (mine, "prompts")],
            "name": [(learn, "name")],
            "reward": [(reward, "reward")],
        },
        {"taste": (learn, "taste"), "best": (rank, "best"), "best scores": (rank, "best scores")},
    )


def best_of_n() -> Blueprint:
    """Take the MODEL of any sampler graph, give its best picture."""
    latents = Node("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 8})
    sampler = Node(
        "KSampler",
        {"steps": 25, "cfg": 6.0, "sampler_name": "euler_ancestral", "scheduler": "normal"},
        {"latent_image": (latents, "LATENT")},
    )
    decoded = Node("VAEDecode", {}, {"samples": (sampler, "LATENT")})
    reward = Node("TastemakerLoadReward", {"reward": "imagereward-v1.0"})
    score = Node("TastemakerScore", {}, {"images": (decoded, "IMAGE"), "reward": (reward, "reward")})
    rank = Node("TastemakerRank", {"top_k": 1}, {"scores": (score, "scores")})
    return Blueprint(
        "Samples N pictures with your own model and gives you the best one, judged by a reward.",
        ("best of n", "best of", "ksampler", "imagereward", "aesthetic", "hps"),
        [[latents, reward], [sampler, decoded], [score], [rank]],
        {
            "model": [(sampler, "model")],
            "positive": [(sampler, "positive")],
            "negative": [(sampler, "negative")],
            "vae": [(decoded, "vae")],
            "batch_size": [(latents, "batch_size")],
            "width": [(latents, "width")],
            "height": [(latents, "height")],
            "seed": [(sampler, "seed")],
            "steps": [(sampler, "steps")],
            "cfg": [(sampler, "cfg")],
            "sampler_name": [(sampler, "sampler_name")],
            "scheduler": [(sampler, "scheduler")],
            "reward": [(reward, "reward")],
            "keep": [(rank, "top_k")],
        },
        {"best": (rank, "best"), "best scores": (rank, "best scores"), "all scores": (rank, "all scores")},
    )


BLUEPRINTS = {
    "Rank a batch": rank_a_batch,
    "Teach my taste": teach_my_taste,
    "Best of N for any sampler": best_of_n,
}


def built(name: str, object_info: dict[str, Any]) -> dict[str, Any]:
    """Return a blueprint's file: a graph of one node, and what is inside it."""
    made = BLUEPRINTS[name]()
    nodes = [node for column in made.columns for node in column]
    lay_out(made.columns, [])
    inside = build(name, nodes, [], object_info)
    by_id = {id(node): saved for node, saved in zip(nodes, inside["nodes"], strict=True)}
    links = [dict(zip(_LINK, link, strict=True)) for link in inside["links"]]
    ends = {"inputs": _inputs(name, made, by_id, links), "outputs": _outputs(name, made, by_id, links)}
    number = _uuid(name)
    values = [slot.pop("value") for slot in ends["inputs"] if "value" in slot]
    graph = {
        "id": number,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": _IN, "bounding": [-240, 0, 140, 40 + 20 * len(ends["inputs"])]},
        "outputNode": {"id": _OUT, "bounding": [_right(nodes) + 100, 0, 140, 40 + 20 * len(ends["outputs"])]},
        **{side: [{k: v for k, v in slot.items() if k != "widget"} for slot in slots] for side, slots in ends.items()},
        "widgets": [],
        "nodes": inside["nodes"],
        "groups": [],
        "links": links,
        "extra": {},
        "category": "Tastemaker",
        "description": made.description,
    }
    return {
        "revision": 0,
        "last_node_id": len(nodes) + 1,
        "last_link_id": 0,
        "nodes": [_outside(name, len(nodes) + 1, number, ends, values)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [graph]},
        "extra": {"BlueprintDescription": made.description, "BlueprintSearchAliases": list(made.words)},
    }


_LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")


def _uuid(*names: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("tastemaker", "blueprint", *names))))


def _right(nodes: list[Node]) -> int:
    return max(node.pos[0] + node.size[0] for node in nodes)


def _inputs(
    name: str, made: Blueprint, saved: dict[int, dict[str, Any]], links: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Link the subgraph's inputs to the nodes inside; each is a slot, with the widget's value where it is one."""
    found = []
    for place, (label, leads) in enumerate(made.inputs.items()):
        entry: dict[str, Any] = {"id": _uuid(name, "in", label), "name": label, "linkIds": []}
        for node, inner in leads:
            target = saved[id(node)]
            slot = next(i for i, one in enumerate(target["inputs"]) if one["name"] == inner)
            kind = target["inputs"][slot]["type"]
            number = len(links) + 1
            links.append(dict(zip(_LINK, (number, _IN, place, target["id"], slot, kind), strict=True)))
            target["inputs"][slot]["link"] = number
            entry |= {"type": kind}
            entry["linkIds"].append(number)
            if "widget" in target["inputs"][slot]:
                names = [one["name"] for one in target["inputs"] if "widget" in one]
                entry |= {"widget": {"name": label}, "value": _value(target, names, inner)}
        entry["pos"] = [-120, 20 + 20 * place]
        found.append(entry)
    return found


def _value(target: dict[str, Any], names: list[str], inner: str) -> Any:
    """Return a widget's value; a control of the seed's own stands behind `seed` in KSampler."""
    values = list(target["widgets_values"])
    if len(values) > len(names):
        del values[names.index("seed") + 1]
    return values[names.index(inner)]


def _outputs(
    name: str, made: Blueprint, saved: dict[int, dict[str, Any]], links: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for place, (label, (node, output)) in enumerate(made.outputs.items()):
        source = saved[id(node)]
        slot = next(i for i, one in enumerate(source["outputs"]) if one["name"] == output)
        kind, number = source["outputs"][slot]["type"], len(links) + 1
        links.append(dict(zip(_LINK, (number, source["id"], slot, _OUT, place, kind), strict=True)))
        source["outputs"][slot]["links"] = [*(source["outputs"][slot]["links"] or []), number]
        found.append(
            {
                "id": _uuid(name, "out", label),
                "name": label,
                "type": kind,
                "linkIds": [number],
                "pos": [_right([node for column in made.columns for node in column]) + 120, 20 + 20 * place],
            }
        )
    return found


def _outside(
    name: str, number: int, kind: str, ends: dict[str, list[dict[str, Any]]], values: list[Any]
) -> dict[str, Any]:
    """Return the one node that the page puts on a graph."""
    inputs = [
        {"name": s["name"], "type": s["type"], "link": None, **({"widget": s["widget"]} if "widget" in s else {})}
        for s in ends["inputs"]
    ]
    widgets = sum("widget" in slot for slot in inputs)
    rows = max(len(inputs) - widgets, len(ends["outputs"]))
    return {
        "id": number,
        "type": kind,
        "pos": [0, 0],
        "size": [340, 50 + 22 * rows + 26 * widgets],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": s["name"], "type": s["type"], "links": None} for s in ends["outputs"]],
        "title": name,
        "properties": {"proxyWidgets": [["-1", s["name"]] for s in ends["inputs"] if "widget" in s]},
        "widgets_values": values,
    }

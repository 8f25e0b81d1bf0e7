"""Prompts with wrong values in them: every input of every node of ours, from the server's own list. Seeded."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from .values_pack import VALUES

TESTED, SHOWN = "100", "101"

# one node of each kind that makes what a wire carries, small and fast; every prompt holds all of them, so that the
# host keeps what they made
MADE: dict[str, dict[str, Any]] = {
    "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "float32"}},
    "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "jpeg-incompressibility", "dtype": "auto"}},
    "3": {"class_type": "TastemakerPrompts", "inputs": {"text": "a red star\na blue heart"}},
    "4": {
        "class_type": "TestTwin",
        "inputs": {"count": 4, "side": 16, "width": 16, "prompts": "a\nb", "tint": 0},
    },
    "5": {
        "class_type": "TestTwin",
        "inputs": {"count": 4, "side": 16, "width": 16, "prompts": "a\nb", "tint": 1},
    },
    "6": {"class_type": "FuzzValue", "inputs": {"value": "pictures"}},
    "7": {"class_type": "FuzzValue", "inputs": {"value": "samples"}},
    "8": {"class_type": "FuzzValue", "inputs": {"value": "mask"}},
    "9": {"class_type": "FuzzValue", "inputs": {"value": "text"}},
    "10": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "jpeg-compressibility", "dtype": "auto"}},
    "11": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "auto"}},
    "12": {"class_type": "TastemakerFineTuneSettings", "inputs": {"group_size": 2, "sample_every": 0}},
    "13": {
        "class_type": "TastemakerFineTune",
        "inputs": {"model": ["1", 0], "reward": ["2", 0], "prompts": ["3", 0], "settings": ["12", 0]},
    },
    "14": {
        "class_type": "TastemakerEvaluate",
        "inputs": {"images": ["6", 0], "reward": ["2", 0], "title": "one"},
    },
    "15": {"class_type": "TastemakerSearchSettings", "inputs": {}},
}
WIRES = {
    "TASTE_MODEL": ["1", 0],
    "TASTE_REWARD": ["2", 0],
    "TASTE_PROMPTS": ["3", 0],
    "TASTE_SCORES": ["4", 0],
    "IMAGE": ["6", 0],
    "LATENT": ["7", 0],
    "MASK": ["8", 0],
    "TASTE_TRAINING": ["12", 0],
    "TASTE_SEARCH": ["15", 0],
    "TASTE_REPORT": ["13", 3],
    "TASTE_EVALUATION": ["14", 0],
    "STRING": ["9", 0],
}
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_OTHERS = {"after": ["5", 0], "worse": ["5", 0], "reward_2": ["10", 0], "reward_3": ["11", 0]}
_ALWAYS = ("settings", "images", "reference", "prompts", "better")  # optional wires that keep a node at work, and quick
_MORE_MODELS = ("model_2", "model_3", "model_4", "model_5")
_NEVER = ("refiner", "reward_4", "latent", "votes", "model", *_MORE_MODELS)  # what does not go with the others
# what keeps a node quick where a value is not the tested one
QUICK: dict[str, Any] = {
    "steps": 1,
    "images_per_prompt": 1,
    "epochs": 1,
    "samples_per_epoch": 4,
    "rank": 1,
    "scheduler": "ddim",
    "features": "tiny-vision",
    "kid_subsets": 2,
    "kid_subset_size": 2,
    "resamples": 0,
    "preset": "from settings",
    "guidance_scale": 1.0,
    "run_name": "fuzz",
    "seeds": 1,
    "column_values": "2",
    "row_values": "1",
    "study": "fuzz",
    "budget": 2,
}
# limits above which a right value takes long; the tested value is then not that
SLOW: dict[str, int] = {
    "steps": 3,
    "images_per_prompt": 2,
    "epochs": 1,
    "samples_per_epoch": 8,
    "height": 64,
    "width": 64,
    "kid_subsets": 10,
    "resamples": 100,
    "count": 4,
    "seeds": 2,
    "budget": 8,
}

TEXTS = (
    *("", " ", "a", "abc", "NaN", "None", "null", "0", "-1", "1e999", "true", "[]", "\0", "\n", "\u202e", "\ufeff"),
    *("../x", "..\\x", "a/../../x", "/etc/passwd", "C:\\x", "\\\\host\\share", ".", "..", "CON", "con.txt", "NUL "),
    *("a" * 300, "a" * 20_000, "\U0001f600" * 50, "=HYPERLINK(1)", "<img src=x onerror=alert(1)>", "${x}", "%s%n"),
    *("(((((a:9999)", "a" + ")" * 500, "(" * 2000, "BREAK AND BREAK", "a:1e400", "[a:b:0.5]", "\ud800"),
    *("tiny-sdxl", "auto", "input", "output", "output/../..", "input/link", "none", "connected prompts", "own"),
)
NUMBERS = (0, 1, -1, 2, 3, 7, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, 5e-324, 1e999, -1e999)
ODD = (
    *(None, True, False, [], {}, [[]], [1, 2], ["1", 0], ["99", 0], ["1", 99], ["1", -1], ["1", "0"], [None, 0]),
    *({"a": 1}, {"__value__": []}, {"__value__": "abc"}, {"__value__": [1, 2]}, {"__value__": None}, [[[[[]]]]]),
    *({"__type__": "x"}, {"samples": []}, {"__value__": {"__value__": 1}}, ["a"] * 1000, {str(i): i for i in range(9)}),
)


class Case(NamedTuple):
    """A prompt, the node it tests, and what is wrong with it."""

    number: int
    node: str
    changes: dict[str, Any]
    prompt: dict[str, Any]


def nodes_of(object_info: dict[str, Any]) -> dict[str, Any]:
    """Our nodes by id."""
    return {name: info for name, info in object_info.items() if name.startswith("Tastemaker")}


def inputs_of(info: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """Every input of a node: its type or list, its options, whether it must be there."""
    found = {}
    for part in ("required", "optional"):
        for name, entry in info["input"].get(part, {}).items():
            found[name] = (entry[0], entry[1] if len(entry) > 1 else {}, part == "required")
    return found


def cases(object_info: dict[str, Any], count: int, seed: int) -> Iterator[Case]:
    """`count` cases. Every input of every node has its turn before one comes again."""
    rng = random.Random(seed)
    nodes = nodes_of(object_info)
    places = [(node, name) for node in sorted(nodes) for name in inputs_of(nodes[node])]
    turn: list[tuple[str, str]] = []
    for number in range(count):
        if not turn:
            turn = rng.sample(places, len(places))
        node, name = turn.pop()
        others = [n for n in inputs_of(nodes[node]) if n != name]
        names = [name, *rng.sample(others, min(len(others), rng.choice((0, 0, 0, 1, 2))))]
        yield _case(number, node, nodes, names, rng)


def usual(node: str, nodes: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A prompt with nothing wrong in it; `rng` decides which optional wires are there."""
    prompt = copy.deepcopy(MADE)
    for made in prompt.values():
        if made["class_type"] in nodes:
            filled = _filled(nodes[made["class_type"]], random.Random(0), only_widgets=True)
            made["inputs"] = filled | made["inputs"]
    info = nodes[node]
    values = _filled(info, rng)
    if "run_name" in values:
        values["run_name"] = f"fuzz {node}"  # one node's run is no other's to go on with
    prompt[TESTED] = {"class_type": node, "inputs": values}
    if not info["output_node"]:
        prompt[SHOWN] = {"class_type": "FuzzShow", "inputs": {"value": [TESTED, 0]}}
    return prompt


def _filled(info: dict[str, Any], rng: random.Random, *, only_widgets: bool = False) -> dict[str, Any]:
    """Right values for a node's inputs."""
    values: dict[str, Any] = {}
    for name, (kind, options, required) in inputs_of(info).items():
        if only_widgets and isinstance(kind, str) and kind not in _WIDGETS:
            continue
        value = _usual(name, kind, options, rng, required)
        if value is not None:
            values[name] = value
    return values


def _case(number: int, node: str, nodes: dict[str, Any], names: list[str], rng: random.Random) -> Case:
    inputs = inputs_of(nodes[node])
    prompt = usual(node, nodes, rng)
    values = prompt[TESTED]["inputs"]
    changes: dict[str, Any] = {}
    for name in names:
        kind, options, _ = inputs[name]
        changes[name], value = _wrong(f"2{len(changes):02}", name, kind, options, prompt, rng)
        if value is _GONE:
            values.pop(name, None)
        else:
            values[name] = value
    return Case(number, node, changes, prompt)


_GONE = object()


def _usual(name: str, kind: Any, options: dict[str, Any], rng: random.Random, required: bool) -> Any:
    """A value that is right; None leaves the input out."""
    if name in QUICK:
        return max(QUICK[name], options.get("min", QUICK[name])) if isinstance(QUICK[name], int) else QUICK[name]
    if isinstance(kind, list) or kind == "COMBO":
        listed = kind if isinstance(kind, list) else options.get("options", [])
        return options.get("default", listed[0] if listed else "")
    if kind in _WIDGETS:
        return options.get("default", "" if kind == "STRING" else 0)
    if not required and (name in _NEVER or (name == "after" and kind == "TASTE_EVALUATION")):
        return None
    wires = [WIRES[part] for part in kind.split(",") if part in WIRES]
    if name in _OTHERS and wires:
        return _OTHERS[name]
    return wires[0] if wires and (required or name in _ALWAYS or rng.random() < 0.3) else None


def _wrong(
    node: str, name: str, kind: Any, options: dict[str, Any], prompt: dict[str, Any], rng: random.Random
) -> tuple[Any, Any]:
    """(what to say, value) of something that should not stand at an input; it may add a node to the prompt."""
    way = rng.random()
    if way < 0.35:  # over a wire that takes everything
        value = rng.choice(list(VALUES))
        prompt[node] = {"class_type": "FuzzValue", "inputs": {"value": value}}
        return f"wire: {value}", [node, 0]
    if way < 0.40:  # another node's output; the host refuses most
        value = rng.choice(list(WIRES.values()))
        return value, value
    if way < 0.43:
        return "left out", _GONE
    if way < 0.55 and (isinstance(kind, list) or kind == "COMBO"):
        listed = kind if isinstance(kind, list) else options.get("options", [])
        value = rng.choice(listed) if listed else ""  # a right one, beside what else is wrong
    elif way < 0.7:
        value = rng.choice(TEXTS)
    elif way < 0.85:
        value = _number(options, rng)
    else:
        value = copy.deepcopy(rng.choice(ODD))
    value = _not_slow(name, value)
    return value, value


def _number(options: dict[str, Any], rng: random.Random) -> Any:
    low, high = options.get("min"), options.get("max")
    edges = [v for v in (low, high) if v is not None]
    beyond = [v + d for v in edges for d in (-1, 1, 0)]
    return rng.choice((*NUMBERS, *edges, *beyond, *beyond))


def _not_slow(name: str, value: Any) -> Any:
    """A number that is right but takes long is brought down; what is no number, or far too much, stays."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return SLOW[name] if name in SLOW and number and SLOW[name] < value < 100_000 else value

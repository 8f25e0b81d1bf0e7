"""Run inside a process of its own, with the host's modules: what every node's schema lets through.

Prints one JSON object; `test_checked.py` reads it.
"""

from __future__ import annotations

import json
import math
import sys
from inspect import getfullargspec
from types import SimpleNamespace
from typing import Any

from scripts.comfy.inside import enter
from tests.fuzz.values_pack import VALUES


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def found() -> dict[str, Any]:
    import torch
    from comfy_api.latest import io

    from tastemaker.core.errors import InputError, TastemakerError
    from tastemaker.nodes import NODES
    from tastemaker.nodes.checked import WIRES, check_input, checked

    values = {name: make() for name, make in VALUES.items()} | {"10**5000": 10**5000, "unshowable": Unshowable()}
    taken: dict[str, list[str]] = {}
    wrong, unknown, unchecked, unlike = [], [], [], []
    for node in NODES:
        looked_up = getattr(node.execute, "looked_up", None)
        unchecked += [node.__name__] if looked_up is None else []
        left = set(getfullargspec(node.validate_inputs).args[1:]) if "validate_inputs" in vars(node) else set()
        unlike += [node.__name__] if left != set(looked_up or ()) else []
        for entry in node.define_schema().inputs:
            kind = entry.get_io_type()
            if not isinstance(entry, io.WidgetInput):
                unknown += [one for one in kind.split(",") if one not in WIRES]
            for name, value in values.items():
                try:
                    check_input(entry, value)
                    taken.setdefault("COMBO" if isinstance(entry, io.Combo.Input) else kind, []).append(name)
                except TastemakerError as e:
                    if not str(e).startswith(f"{entry.id}: ") or e.name != entry.id:
                        wrong.append(str(e))

    def message(entry: Any, value: Any, **more: Any) -> str:
        try:
            check_input(entry, value, **more)
        except TastemakerError as e:
            return str(e)
        return ""

    required, model = io.Image.Input("image"), io.Custom("TASTE_MODEL").Input("model")
    messages = {
        "text": message(model, "abc"),
        "nothing": message(model, None),
        "shape": message(required, torch.zeros(2, 3)),
        "listed": message(required, [torch.zeros(1, 2, 2, 3), "abc"], each=True),
        "nan": message(io.Float.Input("weight_1", min=0.0, max=1.0), math.nan),
        "long": message(io.Int.Input("seed", min=0, max=5), 10**5000),
        "unshowable": message(io.Boolean.Input("cache"), Unshowable()),
        "combo": message(io.Combo.Input("mode", options=["a", "b"]), ["a"]),
        "surrogate": message(io.String.Input("title"), "x \udc80"),
    }
    seen = []

    @checked(called={"images": "reference"})
    def execute(cls: Any, reference: Any = None, count: int = 1) -> None:
        seen.append((reference, count))
        raise InputError("images", 5, "Wrong.")

    schema = io.Schema(
        node_id="X", inputs=[io.Image.Input("reference", optional=True), io.Int.Input("count", min=1, max=9)]
    )
    owner = SimpleNamespace(SCHEMA=schema, define_schema=lambda: schema)
    for name, given in (("renamed", {}), ("refused", {"count": 10})):
        try:
            execute(owner, None, **given)
        except TastemakerError as e:
            messages[name] = str(e)
    return {
        "taken": {kind: sorted(set(names)) for kind, names in taken.items()},
        "wrong": wrong,
        "unknown": sorted(set(unknown)),
        "unchecked": unchecked,
        "unlike": unlike,
        "messages": messages,
        "seen": len(seen),
    }


if __name__ == "__main__":
    enter()
    sys.stdout.write(json.dumps(found()) + "\n")

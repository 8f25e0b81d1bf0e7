"""Run inside a process of its own, with the host's modules: schemas on a host that knows the newer fields.

    python -m tests.nodes.listing_probe

Prints for each node its search words, shelf and flag, as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, fields

from scripts.comfy.inside import enter


def main() -> None:
    enter()
    from comfy_api.latest import io

    @dataclass
    class NewSchema(io.Schema):
        search_aliases: list[str] = field(default_factory=list)
        essentials_category: str | None = None
        has_intermediate_output: bool = False

    if not hasattr(io.Input("probe"), "advanced"):
        io.Input.advanced = None
    from tastemaker.nodes import NODES
    from tastemaker.nodes.listing import FOLDED

    plain = {node.define_schema().node_id: vars(node.define_schema()) for node in NODES}
    known = {spec.name for spec in fields(io.Schema)}
    io.Schema = NewSchema
    new = {node.define_schema().node_id: node.define_schema() for node in NODES}
    sys.stdout.write(
        json.dumps(
            {
                name: {
                    "aliases": made.search_aliases,
                    "essentials": made.essentials_category,
                    "intermediate": made.has_intermediate_output,
                    "inputs": [entry.id for entry in made.inputs],
                    "to_fold": FOLDED.get(name, ()),
                    "folded": [entry.id for entry in made.inputs if entry.advanced],
                    "unknown_to_the_host": sorted(plain[name].keys() - known),
                }
                for name, made in new.items()
            }
        )
    )


if __name__ == "__main__":
    main()

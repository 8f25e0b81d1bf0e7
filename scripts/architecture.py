"""Draw the rooms and who imports whom, from the imports themselves: `docs/architecture.svg`.

    python -m scripts.architecture [--check]

With `--check` nothing is written; it fails when the picture is not that of the code.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from .comfy.locate import ROOT

ROOMS = ("nodes", "training", "evaluation", "search", "taste", "ranking", "sampling", "rewards", "loaders", "images")
ROOMS += ("plots", "core")
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, BOX, ROW, MARGIN = 1000, (236, 58), 112, 30
INK, LINE, FILL, SMALL = "#eceef2", "#5b6270", "#21242b", "#969ca8"


def relative_imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the dotted parts, from the package's root, of what a file imports from the package."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - (node.level - 1)]
            named = tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield (*above, *named, alias.name)


def room_graph() -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    graph: dict[str, set[str]] = {}
    for room in ROOMS:
        files = sorted((ROOT / room).rglob("*.py"))
        if files:
            graph[room] = {parts[0] for path in files for parts in relative_imports(path)} - {room}
    return graph


def layers(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Arrange rooms so that every arrow points down: a room stands one above the highest that it imports."""

    def height(room: str) -> int:
        return 1 + max((height(other) for other in graph[room]), default=-1)

    heights = {room: height(room) for room in graph}
    return [[room for room in graph if heights[room] == level] for level in range(max(heights.values()), -1, -1)]


def direct(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Leave out the arrows that follow from others: what a room's own imports import."""

    def below(room: str) -> set[str]:
        return set().union(*({other} | below(other) for other in graph[room]))

    return {room: {o for o in others if not any(o in below(x) for x in others)} for room, others in graph.items()}


def purpose(room: str) -> str:
    """Return what a room is for: how the docstring of its `__init__.py` begins."""
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return re.split(r"[.,:;]", docstring)[0]


def draw(graph: Mapping[str, set[str]]) -> str:
    """Return the picture as SVG."""
    rows = layers(graph)
    height = MARGIN * 2 + BOX[1] + ROW * (len(rows) - 1)
    places: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        for i, room in enumerate(row):
            places[room] = (WIDTH * (i + 1) / (len(row) + 1), MARGIN + BOX[1] / 2 + ROW * level)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif">',
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#16181d"/>',
    ]
    for room, others in direct(graph).items():
        for other in sorted(others):
            (x1, y1), (x2, y2) = places[room], places[other]
            y1, y2 = y1 + BOX[1] / 2, y2 - BOX[1] / 2 - 2
            middle = (y1 + y2) / 2
            curve = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"
            parts.append(f'<path d="{curve}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#tip)"/>')
    for room, (x, y) in places.items():
        parts += [
            f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="8" '
            f'fill="{FILL}" stroke="{LINE}"/>',
            f'<text x="{x:.0f}" y="{y - 2:.0f}" fill="{INK}" font-size="19" text-anchor="middle">{room}</text>',
            f'<text x="{x:.0f}" y="{y + 18:.0f}" fill="{SMALL}" font-size="13" text-anchor="middle">'
            f"{purpose(room)}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the picture is not that of the code")
    made = draw(room_graph())
    if not parser.parse_args().check:
        PICTURE.write_text(made, encoding="utf-8")
    elif not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != made:
        sys.exit("[tastemaker] docs/architecture.svg shows other rooms or arrows: python -m scripts.architecture")


if __name__ == "__main__":
    main()

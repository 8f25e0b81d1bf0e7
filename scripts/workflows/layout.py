"""Where the nodes of a workflow stand: columns from left to right, frames around them, links around other nodes.

The page opens a graph so that it fits, and hides all text below 57% of its size. On a window of 1600 x 1000 it fits a
graph into three quarters of each side, so a graph may be `MOST_WIDE` by `MOST_HIGH`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

MOST_WIDE, MOST_HIGH = 1890, 1270
TITLE = 30  # of a node, above its position
COLUMN_GAP, ROW_GAP, FRAME_GAP, LANE_GAP = 54, 30, 52, 14
FRAME, FRAME_TITLE = 16, 36  # around the nodes of a group
SLOT = 20

# As large as a node gets in either renderer, with a picture or a report on it: nothing grows into its neighbour.
SIZES = {
    "TastemakerLoadModel": (290, 160),
    "TastemakerLoadLoRA": (290, 230),
    "TastemakerLoadReward": (290, 170),
    "TastemakerPrompts": (290, 150),
    "TastemakerCombineRewards": (290, 300),
    "TastemakerLoadImages": (360, 510),
    "TastemakerSample": (290, 690),
    "TastemakerScore": (260, 270),
    "TastemakerRank": (580, 980),
    "TastemakerSaveRanked": (300, 480),
    "TastemakerFineTune": (410, 960),
    "TastemakerPreferenceTune": (440, 1150),
    "TastemakerRewardCurve": (390, 340),
    "TastemakerCompare": (390, 540),
    "TastemakerSearch": (340, 960),
    "TastemakerSearchSettings": (290, 460),
    "TastemakerGrid": (620, 1180),
    "TastemakerVote": (380, 520),
    "TastemakerVoteResult": (400, 620),
    "TastemakerEvaluate": (310, 960),
    "TastemakerReport": (450, 900),
    "MarkdownNote": (340, 480),
    "CheckpointLoaderSimple": (290, 160),
    "CLIPTextEncode": (290, 150),
    "EmptyLatentImage": (290, 170),
    "KSampler": (290, 440),
    "VAEDecode": (290, 90),
    "ImageStitch": (320, 210),
    "SaveImage": (420, 500),
    "PreviewImage": (390, 420),
}

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(eq=False)
class Node:
    """A node of a graph to be. `wires` maps an input's name to (node, output name). The layout finds size and place."""

    type: str
    values: dict[str, Any] = field(default_factory=dict)
    wires: dict[str, tuple[Node, str]] = field(default_factory=dict)
    title: str = ""
    size: tuple[int, int] = ()
    pos: tuple[int, int] = (0, 0)


@dataclass
class Group:
    """A titled frame behind nodes."""

    title: str
    bounding: tuple[float, float, float, float]  # left, top, width, height
    colour: str


@dataclass
class Frame:
    """A group to be: its title, colour, and the nodes inside."""

    title: str
    colour: str
    nodes: list[Node]


def box(node: Node) -> Box:
    """Return a node's box, title included."""
    (x, y), (width, height) = node.pos, node.size
    return x, y - TITLE, x + width, y + height


def lay_out(columns: list[list[Node]], frames: list[Frame], gap: int = COLUMN_GAP) -> list[Group]:
    """Give every node its place, and all of a column one width; return the groups. Raises ValueError if too large."""
    left = 0
    for column in columns:
        top, width = 0, max((node.size or SIZES[node.type])[0] for node in column)
        for place, node in enumerate(column):
            node.size = (width, (node.size or SIZES[node.type])[1])
            node.pos = (left, top)
            below = column[place + 1 : place + 2]
            together = any(_inside(node, frame) and _inside(other, frame) for frame in frames for other in below)
            top += node.size[1] + TITLE + (ROW_GAP if together else FRAME_GAP)
        left += width + gap
    nodes = [node for column in columns for node in column]
    wide = left - gap
    high = max(box(node)[3] for node in nodes) + TITLE
    if wide > MOST_WIDE or high > MOST_HIGH:
        raise ValueError(f"A graph of {wide} x {high} cannot be read when the page opens it.")
    return [_group(frame, nodes) for frame in frames]


def _inside(node: Node, frame: Frame) -> bool:
    return any(node is one for one in frame.nodes)


def _group(frame: Frame, nodes: list[Node]) -> Group:
    boxes = [box(node) for node in frame.nodes]
    left, top = min(b[0] for b in boxes) - FRAME, min(b[1] for b in boxes) - FRAME_TITLE
    right, bottom = max(b[2] for b in boxes) + FRAME, max(b[3] for b in boxes) + FRAME
    for node in nodes:
        if not _inside(node, frame) and overlap(box(node), (left, top, right, bottom)):
            raise ValueError(f"{node.type} stands in the group '{frame.title}' and does not belong there.")
    return Group(frame.title, (left, top, right - left, bottom - top), frame.colour)


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# --- links ------------------------------------------------------------------------------------------------------------

Point = tuple[float, float]


def slot(node: Node, place: int, *, output: bool) -> Point:
    """Where a link leaves or enters a node."""
    return node.pos[0] + (node.size[0] if output else 0), node.pos[1] + (place + 0.7) * SLOT


def behind(path: list[Point], node: Node) -> bool:
    """Whether a link along `path` passes behind a node."""
    left, top, right, bottom = box(node)
    for (x0, y0), (x1, y1) in pairwise(path):
        for step in range(33):
            t = step / 32
            x, y = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t * t * (3 - 2 * t)  # flat at both ends, as the page draws it
            if left < x < right and top < y < bottom:
                return True
    return False


def around(start: Point, end: Point, others: list[Node], taken: list[float]) -> list[Point]:
    """Points that lead a link around the nodes in `others`; none where it passes none of them.

    The link runs along one free height above, below or between the nodes it would pass; `taken` has the heights that
    other links use, and gets this one.
    """
    passed = [node for node in others if behind([start, end], node)]
    if not passed:
        return []
    between = [node for node in others if box(node)[2] > start[0] and box(node)[0] < end[0]]
    left = min(box(node)[0] for node in between) - COLUMN_GAP / 3
    right = max(box(node)[2] for node in between) + COLUMN_GAP / 3
    spans = [(box(node)[1] - (FRAME_TITLE if node.pos[1] == 0 else 0), box(node)[3]) for node in between]
    edges = [top - LANE_GAP for top, _ in spans] + [bottom + LANE_GAP for _, bottom in spans]
    heights = [edge + way * LANE_GAP * turn for edge in edges for way in (-1, 1) for turn in range(5)]

    def free(y: float) -> bool:
        clear = all(not top - 6 < y < bottom + 6 for top, bottom in spans)  # frames' titles stay readable too
        return clear and all(abs(y - other) >= LANE_GAP - 1 for other in taken)

    able = [y for y in heights if free(y)]
    if not able:
        raise ValueError("There is no free way for a link.")
    y = min(able, key=lambda y: abs(y - start[1]) + abs(y - end[1]))
    taken.append(y)
    return [(left, y), (right, y)]

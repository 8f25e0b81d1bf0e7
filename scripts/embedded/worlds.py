"""The two captioned worlds, as the training scripts see them: what scenes there are, and how they look and read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import world as shapes
from .checker import read as read_shape
from .emoji import world as emoji
from .emoji.checker import read as read_emoji


@dataclass(frozen=True)
class World:
    """A world. `draw` makes a scene's picture, uint8 (H, W, 3), with a little jitter."""

    size_px: int
    values: Mapping[str, Sequence[str]]  # the fields of a scene, and what each can be
    far: tuple[str, ...]  # the fields in which unrelated scenes all differ
    scene: Callable[..., Any]
    draw: Callable[[Any, np.random.Generator], np.ndarray]
    caption: Callable[[Any, np.random.Generator], Any]
    random_scene: Callable[..., Any]
    held_out: Callable[[Any], bool]
    possible: Callable[[Any], bool]
    vocabulary: Callable[[], list[str]]
    read: Callable[[np.ndarray], Any]  # a picture, float (H, W, 3) in [0, 1], to a reading with the scene's fields

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.values)

    def taught(self) -> list[Any]:
        """Every scene outside the held-out combinations."""
        every = (self.scene(*values) for values in itertools.product(*self.values.values()))
        return [scene for scene in every if self.possible(scene) and not self.held_out(scene)]


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8."""
    return np.round(picture * 255).astype(np.uint8)


SHAPES = World(
    size_px=shapes.SIZE_PX,
    values={
        "shape": tuple(shapes.SHAPES),
        "colour": tuple(shapes.COLOURS),
        "background": tuple(shapes.COLOURS),
        "size": tuple(shapes.SIZES),
        "position": tuple(shapes.POSITIONS),
    },
    far=("shape", "colour", "background"),
    scene=shapes.Scene,
    draw=lambda scene, rng: to_bytes(shapes.draw(scene, shapes.Jitter.random(rng))),
    caption=shapes.caption,
    random_scene=shapes.random_scene,
    held_out=shapes.held_out,
    possible=lambda scene: scene.colour != scene.background,
    vocabulary=shapes.vocabulary,
    read=read_shape,
)
EMOJI = World(
    size_px=emoji.SIZE_PX,
    values={
        "thing": tuple(emoji.THINGS),
        "landscape": tuple(emoji.LANDSCAPES),
        "size": tuple(emoji.SIZES),
        "place": tuple(emoji.PLACES),
    },
    far=("thing", "landscape"),
    scene=emoji.Scene,
    draw=lambda scene, rng: emoji.draw(scene, emoji.Jitter.random(rng)),
    caption=emoji.caption,
    random_scene=emoji.random_scene,
    held_out=emoji.held_out,
    possible=lambda scene: True,
    vocabulary=emoji.vocabulary,
    read=read_emoji,
)

"""The captioned world the embedded models are taught: one shaded shape on a coloured background.

A `Scene` fixes everything that a caption can say (shape, colour, background, size, position);
`draw` renders it with antialiasing, a light from the upper left and a soft shadow; `caption` words
it in one of several ways. `scripts/embedded/checker.py` reads a picture back.

Pictures are float32 (H, W, 3) in [0, 1], H = W = 64.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

SIZE_PX = 64

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.15),
    "orange": (0.97, 0.52, 0.08),
    "yellow": (0.99, 0.87, 0.20),
    "green": (0.18, 0.66, 0.30),
    "blue": (0.13, 0.36, 0.88),
    "purple": (0.51, 0.22, 0.72),
    "pink": (0.98, 0.56, 0.75),
    "white": (0.96, 0.96, 0.95),
}
SIZES: dict[str, float] = {"small": 12.0, "large": 18.0}  # radius in pixels
POSITIONS: dict[str, tuple[float, float]] = {  # offset of the centre in pixels, (x, y), y down
    "centre": (0.0, 0.0),
    "left": (-11.0, 0.0),
    "right": (11.0, 0.0),
    "top": (0.0, -11.0),
    "bottom": (0.0, 11.0),
}


def _star() -> np.ndarray:
    angles = -math.pi / 2 + np.arange(10) * math.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.08, 0.47)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles) + 0.05], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.0], axis=1) / 16.0


_POLYGONS: dict[str, np.ndarray] = {
    "triangle": np.array([[0.0, -1.0], [1.02, 0.82], [-1.02, 0.82]]),
    "star": _star(),
    "heart": _heart(),
    "cross": np.array(
        [(-0.34, -1), (0.34, -1), (0.34, -0.34), (1, -0.34), (1, 0.34), (0.34, 0.34)]
        + [(0.34, 1), (-0.34, 1), (-0.34, 0.34), (-1, 0.34), (-1, -0.34), (-0.34, -0.34)],
        dtype=float,
    ),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "moon")


def _polygon_distance(x: np.ndarray, y: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Signed distance (negative inside) from points to a closed polygon, any winding."""
    best = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        best = np.minimum(best, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ay != by:
            crosses = ((ay > y) != (by > y)) & (x < ex * (y - ay) / ey + ax)
            inside ^= crosses
    return np.where(inside, -1.0, 1.0) * np.sqrt(best)


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance (negative inside) to a shape of radius about 1 at the origin, y down."""
    if shape == "circle":
        return np.hypot(x, y) - 0.95
    if shape == "ring":
        return np.abs(np.hypot(x, y) - 0.74) - 0.26
    if shape == "square":
        # 0.80 half-width with corners rounded by 0.06
        dx, dy = np.abs(x) - 0.74, np.abs(y) - 0.74
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return outside + np.minimum(np.maximum(dx, dy), 0) - 0.10
    if shape == "moon":
        return np.maximum(np.hypot(x + 0.1, y) - 1.0, 0.82 - np.hypot(x - 0.42, y + 0.12))
    return _polygon_distance(x, y, _POLYGONS[shape])


@dataclass(frozen=True)
class Scene:
    """What one picture shows; each field is a key of the tables above."""

    shape: str
    colour: str
    background: str
    size: str
    position: str


@dataclass(frozen=True)
class Jitter:
    """Small differences that no caption mentions: pixels for size and place, [0, 1] for colours."""

    radius: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    colour: tuple[float, float, float] = (0.0, 0.0, 0.0)
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @staticmethod
    def random(rng: np.random.Generator) -> Jitter:
        shade = lambda: tuple(float(v) for v in rng.uniform(-0.02, 0.02, 3))  # noqa: E731
        radius, dx, dy = (float(v) for v in rng.uniform((-0.8, -1.5, -1.5), (0.8, 1.5, 1.5)))
        return Jitter(radius, dx, dy, shade(), shade())


@lru_cache(maxsize=1)
def pixel_grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as (x, y), each (H, W), the origin in the middle of the picture."""
    line = np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2
    x, y = np.meshgrid(line, line)
    return x, y


def _coverage(distance: np.ndarray, softness: float = 0.5) -> np.ndarray:
    return np.clip(0.5 - distance / (2 * softness), 0.0, 1.0)


def draw(scene: Scene, jitter: Jitter | None = None) -> np.ndarray:
    """Render a scene to float32 (H, W, 3) in [0, 1]."""
    jitter = jitter or Jitter()
    x, y = pixel_grid()
    px, py = POSITIONS[scene.position]
    cx, cy = px + jitter.dx, py + jitter.dy
    radius = SIZES[scene.size] + jitter.radius
    u, v = (x - cx) / radius, (y - cy) / radius
    distance = signed_distance(scene.shape, u, v) * radius  # pixels

    ground = np.array(COLOURS[scene.background]) + np.array(jitter.background)
    light = 1.04 - 0.16 * (y / SIZE_PX + 0.5) - 0.06 * (x * x + y * y) / (SIZE_PX / 2) ** 2
    picture = ground * light[..., None]

    shadow = signed_distance(scene.shape, u - 1.2 / radius, v - 2.4 / radius) * radius
    picture = picture * (1 - 0.26 * _coverage(shadow, softness=2.5))[..., None]

    body = np.array(COLOURS[scene.colour]) + np.array(jitter.colour)
    shade = 1.0 - 0.13 * (0.5 * u + 0.8 * v) - 0.16 * _coverage(-distance - 1.2, softness=1.2)
    gleam = 0.30 * np.exp(-((u + 0.35) ** 2 + (v + 0.45) ** 2) / 0.09)
    surface = body * shade[..., None]
    surface = surface + (1 - surface) * gleam[..., None]

    cover = _coverage(distance)[..., None]
    return np.clip(picture * (1 - cover) + surface * cover, 0.0, 1.0).astype(np.float32)


# --- captions ---------------------------------------------------------------------------------

SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
POSITION_WORDS = {
    "centre": ("in the middle", "in the center"),
    "left": ("on the left", "at the left side"),
    "right": ("on the right", "at the right side"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
}
TEMPLATES = (
    "a {size} {colour} {shape} on a {background} background",
    "a {size} {colour} {shape} on a {background} background {position}",
    "a {size} {colour} {shape} {position} of a {background} background",
    "a {colour} {shape} on a {background} background",
    "a {colour} {shape} {position} on {background}",
    "{background} background with a {size} {colour} {shape} {position}",
    "{colour} {shape}, {size}, {position}, {background} background",
    "a picture of a {size} {colour} {shape} on {background}",
    "one {size} {shape} in {colour} on a {background} backdrop",
    "a {background} picture with a {colour} {shape} {position}",
)


@dataclass(frozen=True)
class Caption:
    """A wording of a scene; `mentions` are the fields of `Scene` it says."""

    text: str
    mentions: tuple[str, ...]


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """Word a scene: a random template and synonyms; every caption names shape, colour, background."""
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    size, position = SIZE_WORDS[scene.size], POSITION_WORDS[scene.position]
    text = template.format(
        size=size[rng.integers(len(size))],
        position=position[rng.integers(len(position))],
        shape=scene.shape,
        colour=scene.colour,
        background=scene.background,
    )
    fields = ("shape", "colour", "background", "size", "position")
    return Caption(text, tuple(f for f in fields if "{" + f + "}" in template))


def vocabulary() -> list[str]:
    """Every word a caption can hold, for the tokenizers."""
    words = {*SHAPES, *COLOURS}
    for group in (*SIZE_WORDS.values(), *POSITION_WORDS.values(), TEMPLATES):
        for phrase in group:
            words.update(w for w in phrase.replace(",", " ").split() if "{" not in w)
    return sorted(words)


# --- which combinations are kept out of training ------------------------------------------------


def held_out(scene: Scene) -> bool:
    """Whether the (shape, colour, background) of a scene is one of the tenth never trained on."""
    digest = hashlib.sha256(f"{scene.shape}|{scene.colour}|{scene.background}".encode()).digest()
    return digest[0] < 26


def combinations() -> list[tuple[str, str, str]]:
    """All (shape, colour, background) with the two colours different."""
    return [c for c in product(SHAPES, COLOURS, COLOURS) if c[1] != c[2]]


def random_scene(rng: np.random.Generator, *, from_held_out: bool) -> Scene:
    """Return a scene drawn evenly from the combinations on one side of the split."""
    table = _split(from_held_out)
    shape, colour, background = table[rng.integers(len(table))]
    size = tuple(SIZES)[rng.integers(len(SIZES))]
    position = tuple(POSITIONS)[rng.integers(len(POSITIONS))]
    return Scene(shape, colour, background, size, position)


@lru_cache(maxsize=2)
def _split(from_held_out: bool) -> list[tuple[str, str, str]]:
    anything = ("small", "centre")
    return [c for c in combinations() if held_out(Scene(*c, *anything)) == from_held_out]

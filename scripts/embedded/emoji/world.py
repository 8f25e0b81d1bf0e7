"""The second captioned world: a friendly thing (a 3D emoji) standing in a drawn landscape.

A `Scene` fixes everything that a caption can say (thing, landscape, size, place); `draw` lays the
thing's picture over a landscape drawn at three times the size, with a soft shadow at its feet;
`caption` words it in one of several ways. `checker.py` beside it reads a picture back.

Pictures are uint8 (H, W, 3), H = W = 96. The things are Microsoft's Fluent emoji (MIT), in `things/`.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..world import Caption

SIZE_PX, OVER = 96, 3  # pictures are drawn at OVER times the size
FOLDER = Path(__file__).parent / "things"

THINGS = (
    *("panda", "fox", "penguin", "turtle", "octopus", "whale", "crab", "owl"),
    *("snowman", "rocket", "mushroom", "cactus", "cupcake", "strawberry", "pineapple", "robot"),
    *("castle", "car", "ladybug", "frog", "rabbit", "chick", "pumpkin", "lion"),
)
SIZES: dict[str, float] = {"small": 34.0, "large": 54.0}  # side in pixels
FEET: dict[str, float] = {"small": 76.0, "large": 86.0}  # row the thing stands on: what is large is near
PLACES: dict[str, float] = {"left": -1.0, "middle": 0.0, "right": 1.0}
_ASIDE: dict[str, float] = {"small": 26.0, "large": 20.0}  # pixels from the middle to the left or right


@dataclass(frozen=True)
class Landscape:
    """Colours from the top of the sky down to the ground at the viewer's feet, and what decorates it."""

    sky: tuple[str, str]
    grounds: tuple[str, str, str]
    decoration: str


LANDSCAPES = {
    "meadow": Landscape(("#4aa8f0", "#d4f0ff"), ("#a6dc84", "#7cc960", "#58b04a"), "clouds"),
    "beach": Landscape(("#37bdee", "#dcf7ff"), ("#2a9fd0", "#5fd0e2", "#f6dfa4"), "sun"),
    "snow": Landscape(("#7fb0e6", "#e4f0fb"), ("#cfe0f3", "#e2edf9", "#f8fcff"), "flakes"),
    "night": Landscape(("#10163f", "#3d4190"), ("#2c3d74", "#22305c", "#19234a"), "stars"),
    "sunset": Landscape(("#6d3d98", "#ff9a5c"), ("#9c4f80", "#7a3c6d", "#562b58"), "low sun"),
    "desert": Landscape(("#f5a95a", "#ffecc8"), ("#eab06c", "#dd9650", "#cd7f3c"), "pale sun"),
    "forest": Landscape(("#9fdcc6", "#e8f8e8"), ("#4f9c6b", "#368455", "#286f46"), "trees"),
    "candyland": Landscape(("#f59fd6", "#ffe8f6"), ("#f7a3cf", "#c9a2f3", "#a2dcf6"), "lollipops"),
}


@dataclass(frozen=True)
class Scene:
    """What one picture shows; each field is a key of the tables above."""

    thing: str
    landscape: str
    size: str
    place: str


@dataclass(frozen=True)
class Jitter:
    """Small differences that no caption mentions; pixels for size and place, `seed` for the landscape."""

    side: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    seed: int = 0

    @staticmethod
    def random(rng: np.random.Generator) -> Jitter:
        side, dx, dy = (float(v) for v in rng.uniform((-1.5, -2.0, -1.5), (1.5, 2.0, 1.5)))
        return Jitter(side, dx, dy, int(rng.integers(1, 2**31)))


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32)


def _hills(full: int, height: float, swing: float, phase: float, waves: float) -> list[tuple[float, float]]:
    """Outline of a ridge across the picture, closed at the bottom, `height` a share of the picture."""
    steps = np.linspace(0, 1, 33)
    rows = height + swing * np.sin(2 * math.pi * waves * steps + phase)
    return [(x * full, y * full) for x, y in zip(steps, rows, strict=True)] + [(full, full), (0, full)]


def draw_landscape(name: str, seed: int = 0) -> Image.Image:
    """Draw a landscape, RGB, at `OVER` times the size. Seed 0 is the plain one, without decoration."""
    what, full = LANDSCAPES[name], SIZE_PX * OVER
    rng = np.random.default_rng(seed)
    moved = 0.0 if seed == 0 else 1.0
    down = np.linspace(0, 1, full, dtype=np.float32)[:, None]
    share = np.clip(down / 0.62, 0, 1)
    sky = (1 - share) * _rgb(what.sky[0]) + share * _rgb(what.sky[1])
    picture = Image.fromarray(np.repeat(sky[:, None], full, axis=1).round().astype(np.uint8))
    pen = ImageDraw.Draw(picture, "RGBA")
    if seed:
        _behind(pen, what.decoration, full, rng)
    flat = what.decoration == "sun"  # the sea is level
    for layer, colour in enumerate(what.grounds):
        swing = 0.0 if flat and layer < 2 else (0.030, 0.024, 0.018)[layer]
        phase = (0.6, 2.5, 4.4)[layer] + moved * rng.uniform(-0.8, 0.8)
        height = (0.56, 0.65, 0.76)[layer] + moved * rng.uniform(-0.012, 0.012)
        if seed and layer == 1:
            _on_the_hills(pen, what.decoration, full, rng)
        pen.polygon(_hills(full, height, swing, phase, (1.0, 0.8, 0.6)[layer]), fill=colour)
    if seed and what.decoration == "flakes":
        for x, y, r in rng.uniform((0, 0, 0.006), (1, 0.9, 0.013), (26, 3)) * full:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255, 220))
    return picture


def _behind(pen: ImageDraw.ImageDraw, decoration: str, full: int, rng: np.random.Generator) -> None:
    """Draw what hangs in the sky, behind the hills."""
    if decoration in ("clouds", "sun", "lollipops"):
        for _ in range(int(rng.integers(1, 4))):
            x, y, r = rng.uniform((0.05, 0.06, 0.045), (0.95, 0.28, 0.07)) * full
            for aside, up, part in ((-1.3, 0.0, 0.75), (0.0, -0.35, 1.0), (1.3, 0.0, 0.8)):
                cx, cy, cr = x + aside * r, y + up * r, part * r
                pen.ellipse((cx - cr, cy - cr, cx + cr, cy + cr), fill=(255, 255, 255, 235))
            pen.rounded_rectangle((x - 2.0 * r, y, x + 2.0 * r, y + 0.75 * r), 0.37 * r, fill=(255, 255, 255, 235))
    if decoration == "stars":
        for x, y, r in rng.uniform((0, 0, 0.004), (1, 0.5, 0.011), (22, 3)) * full:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 250, 220, 235))
    suns = {
        "sun": ("#fff3b0", 0.075, (0.12, 0.22)),
        "stars": ("#f6f1d5", 0.07, (0.12, 0.22)),
        "low sun": ("#ffe27a", 0.12, (0.50, 0.56)),
        "pale sun": ("#fff8e0", 0.08, (0.12, 0.26)),
    }
    if decoration in suns:
        colour, radius, (high, low) = suns[decoration]
        x, y, r = rng.uniform(0.12, 0.88) * full, rng.uniform(high, low) * full, radius * full
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _on_the_hills(pen: ImageDraw.ImageDraw, decoration: str, full: int, rng: np.random.Generator) -> None:
    """Draw what stands on the far hills, behind the thing."""
    if decoration == "trees":
        for x in np.sort(rng.uniform(-0.05, 1.05, 9)) * full:
            tall, wide, foot = rng.uniform(0.18, 0.30) * full, 0.055 * full, 0.68 * full
            green = tuple(int(v) for v in rng.integers((28, 100, 62), (52, 130, 88)))
            for part, lift in ((1.0, 0.0), (0.78, 0.30), (0.55, 0.58)):
                top, base = foot - tall * min(1.0, lift + 0.48), foot - tall * lift
                pen.polygon([(x - wide * part, base), (x + wide * part, base), (x, top)], fill=green)
    if decoration == "lollipops":
        for x in rng.uniform(0.05, 0.95, 4) * full:
            y, r = rng.uniform(0.44, 0.54) * full, rng.uniform(0.035, 0.055) * full
            pen.line((x, y, x, 0.70 * full), fill="#fffafd", width=int(0.012 * full))
            colour = ("#ff6fae", "#8f7bf0", "#ffb454", "#5cc8e8")[rng.integers(4)]
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
            pen.ellipse((x - 0.45 * r, y - 0.45 * r, x + 0.45 * r, y + 0.45 * r), fill="#fff3fa")


@cache
def thing_picture(name: str) -> Image.Image:
    """Return the thing's picture, RGBA, without its empty border."""
    picture = Image.open(FOLDER / f"{name}.webp").convert("RGBA")
    return picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())


def place_thing(scene: Scene, jitter: Jitter) -> Image.Image:
    """Return the thing alone, RGBA at `OVER` times the size, where the scene has it."""
    picture, full = thing_picture(scene.thing), SIZE_PX * OVER
    side = (SIZES[scene.size] + jitter.side) * OVER
    ratio = side / max(picture.size)
    width, height = (max(1, round(n * ratio)) for n in picture.size)
    x = SIZE_PX / 2 + PLACES[scene.place] * _ASIDE[scene.size] + jitter.dx
    y = FEET[scene.size] + jitter.dy
    alone = Image.new("RGBA", (full, full))
    resized = picture.resize((width, height), Image.Resampling.LANCZOS)
    alone.paste(resized, (round(x * OVER - width / 2), round(y * OVER - height)))
    return alone


def draw(scene: Scene, jitter: Jitter | None = None) -> np.ndarray:
    """Render a scene to uint8 (H, W, 3)."""
    jitter = jitter or Jitter()
    picture = draw_landscape(scene.landscape, jitter.seed)
    alone = place_thing(scene, jitter)
    left, _, right, bottom = alone.getchannel("A").getbbox()
    shadow = Image.new("L", picture.size)
    wide, high = 0.46 * (right - left), 0.05 * SIZES[scene.size] * OVER
    middle, foot = (left + right) / 2, bottom - 0.6 * high
    ImageDraw.Draw(shadow).ellipse((middle - wide, foot - high, middle + wide, foot + high), fill=110)
    shadow = shadow.filter(ImageFilter.GaussianBlur(1.3 * OVER))
    picture.paste((20, 20, 50), mask=shadow)
    picture.paste(alone, mask=alone)
    return np.asarray(picture.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX))


# --- captions ---------------------------------------------------------------------------------

SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
PLACE_WORDS = {
    "left": ("on the left", "at the left side"),
    "middle": ("in the middle", "in the center"),
    "right": ("on the right", "at the right side"),
}
WHERE = {
    "meadow": ("in a meadow", "on a green meadow"),
    "beach": ("on the beach", "at the beach"),
    "snow": ("in the snow", "on a snow field"),
    "night": ("at night", "under the stars at night"),
    "sunset": ("at sunset", "under the sunset"),
    "desert": ("in the desert", "in a sandy desert"),
    "forest": ("in the forest", "in a forest"),
    "candyland": ("in candyland", "in pink candyland"),
}
TEMPLATES = (
    "a {size} {thing} {where}",
    "a {size} {thing} {where}, {place}",
    "a {thing} {where}",
    "a {thing} {where}, {place}",
    "{place}, a {size} {thing} {where}",
    "a picture of a {size} {thing} {where}",
    "{thing}, {size}, {where}, {place}",
    "a cute {thing} {where}",
)


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """Word a scene: a random template and synonyms; every caption names thing and landscape."""
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    words = {"size": SIZE_WORDS[scene.size], "place": PLACE_WORDS[scene.place], "where": WHERE[scene.landscape]}
    chosen = {name: options[rng.integers(len(options))] for name, options in words.items()}
    text = template.format(thing=scene.thing, **chosen)
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)  # an owl
    said = {"thing": "{thing}", "landscape": "{where}", "size": "{size}", "place": "{place}"}
    return Caption(text, tuple(field for field, slot in said.items() if slot in template))


def vocabulary() -> list[str]:
    """Every word a caption can hold, for the tokenizers."""
    words = {*THINGS, "an"}
    for group in (*SIZE_WORDS.values(), *PLACE_WORDS.values(), *WHERE.values(), TEMPLATES):
        for phrase in group:
            words.update(w for w in phrase.replace(",", " ").split() if "{" not in w)
    return sorted(words)


# --- which combinations are kept out of training ------------------------------------------------


def held_out(scene: Scene) -> bool:
    """Whether the scene is one of the tenth of all combinations never trained on."""
    words = "|".join((scene.thing, scene.landscape, scene.size, scene.place))
    return hashlib.sha256(words.encode()).digest()[0] < 26


@cache
def scenes(*, from_held_out: bool) -> list[Scene]:
    """All scenes on one side of the split."""
    every = (Scene(*values) for values in product(THINGS, LANDSCAPES, SIZES, PLACES))
    return [scene for scene in every if held_out(scene) == from_held_out]


def random_scene(rng: np.random.Generator, *, from_held_out: bool) -> Scene:
    """Return a scene drawn evenly from one side of the split."""
    table = scenes(from_held_out=from_held_out)
    return table[rng.integers(len(table))]

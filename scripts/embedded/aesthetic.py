"""Train tiny-aesthetic: an image tower and an MLP that know four stated rules of beauty, and no text.

A picture is beautiful, from 0 to 10, by

- contrast: the shape's colour is far from the background's (distance of RGB, full from about 0.8 on);
- harmony: the two hues are a third of the circle or more apart; beside grey or white it is 0.6;
- centredness: the shape is in the middle (a bell of 9 pixels around it);
- clean edges: no noise, no blur, no bent outline. This one multiplies the others, weighed 4 : 3 : 3.

No shape, no size and no single pair of colours is preferred: all opposite colours reach the top.

The rules are reckoned from what a picture was drawn with, not from its pixels: the network learns to see them. It is
shown the world's colours and any others, pictures with noise, blur, bent outlines or two shapes run into each other,
pictures without a shape (0), and samples of tiny-ddpm, whose colours and outline `checker.py` reads.
"""

from __future__ import annotations

import colorsys
import dataclasses
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from tastemaker.rewards.models._resnet import ResNetScore
from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, normalized
from tastemaker.rewards.models.tiny_aesthetic import EMBEDDING, WIDTHS

from .checker import read
from .training import Learner, autocast, batches
from .world import COLOURS, POSITIONS, SIZE_PX, Jitter, Scene, draw, random_scene

PICTURES, SAMPLES, STEPS, BATCH, LEARNING_RATE = 6000, 192, 1500, 48, 2e-3
TOP = 10.0
Colour = tuple[float, float, float]


class Lessons(NamedTuple):
    """Pictures, uint8 (N, 3, H, W), and their beauty, (N,)."""

    pixels: torch.Tensor
    beauty: torch.Tensor


def contrast(shape: Colour, background: Colour) -> float:
    """How far apart two colours are, in [0, 1]."""
    distance = float(np.linalg.norm(np.subtract(shape, background)))
    return 1 - float(np.exp(-((distance / 0.4) ** 2)))


def harmony(shape: Colour, background: Colour) -> float:
    """How well two hues go together, in [0, 1]: full from a third of the circle on, 0.6 where one has no hue."""
    (hue, saturation, _), (other, other_saturation, _) = (colorsys.rgb_to_hsv(*c) for c in (shape, background))
    apart = abs((hue - other + 0.5) % 1 - 0.5) * 3  # 1: a third of the circle
    apart = min(apart, 1.0)
    smooth = apart * apart * (3 - 2 * apart)
    coloured = min(saturation, other_saturation, 0.5) * 2
    return coloured * smooth + (1 - coloured) * 0.6


def centredness(x: float, y: float) -> float:
    """How near the middle a place is, pixels from it; in (0, 1]."""
    return float(np.exp(-(x * x + y * y) / (2 * 9.0**2)))


def beauty(shape: Colour, background: Colour, place: tuple[float, float], edges: float) -> float:
    """Return the rules as one number, 0 to 10."""
    kinds = 0.4 * contrast(shape, background) + 0.3 * harmony(shape, background) + 0.3 * centredness(*place)
    return TOP * edges * kinds


def drawn(rng: np.random.Generator, *, from_held_out: bool) -> tuple[np.ndarray, float]:
    """Draw and judge one picture: float (H, W, 3) in [0, 1] and its beauty."""
    scene = random_scene(rng, from_held_out=from_held_out)
    if rng.random() < 0.5:
        scene = dataclasses.replace(scene, size="large", position="centre")
    jitter = Jitter.random(rng)
    if rng.random() < 0.4:
        jitter = _other_colours(scene, jitter, rng)
    if rng.random() < 0.3:
        dx, dy = (float(v) for v in rng.uniform(-6, 6, 2))
        jitter = dataclasses.replace(jitter, dx=dx, dy=dy, radius=float(rng.uniform(-3, 3)))
    shape, background = _colours(scene, jitter)
    place = tuple(np.add(POSITIONS[scene.position], (jitter.dx, jitter.dy)))
    picture, edges = spoilt(draw(scene, jitter), scene, jitter, rng)
    return picture, beauty(shape, background, place, edges)


def _colours(scene: Scene, jitter: Jitter) -> tuple[Colour, Colour]:
    shape, background = (
        np.add(COLOURS[scene.colour], jitter.colour),
        np.add(COLOURS[scene.background], jitter.background),
    )
    return tuple(np.clip(shape, 0, 1)), tuple(np.clip(background, 0, 1))


def _other_colours(scene: Scene, jitter: Jitter, rng: np.random.Generator) -> Jitter:
    """Any colours in the place of the scene's."""
    shape, background = (tuple(rng.uniform(0.05, 1, 3) - COLOURS[name]) for name in (scene.colour, scene.background))
    return dataclasses.replace(jitter, colour=shape, background=background)


def spoilt(picture: np.ndarray, scene: Scene, jitter: Jitter, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Spoil a picture in none, one or some ways; the share of its edges' cleanness that is left."""
    edges = 1.0
    if rng.random() < 0.06:
        return _without_shape(picture, rng), 0.0
    if rng.random() < 0.25:
        amount = float(rng.uniform(0, 5))
        picture, edges = bent(picture, amount, rng), edges * float(np.exp(-amount / 2.5))
    if rng.random() < 0.12:
        other = dataclasses.replace(scene, shape=random_scene(rng, from_held_out=False).shape)
        share = float(rng.uniform(0, 0.5)) * (other.shape != scene.shape)
        picture, edges = (1 - share) * picture + share * draw(other, jitter), edges * float(np.exp(-3 * share))
    if rng.random() < 0.25:
        amount = float(rng.uniform(0, 4))
        picture = ndimage.gaussian_filter(picture, (amount, amount, 0), mode="nearest")
        edges *= float(np.exp(-((amount / 2) ** 2)))
    if rng.random() < 0.3:
        amount = float(rng.uniform(0, 0.3)) * rng.random()
        coarse = int(rng.integers(1, 5))
        noise = rng.normal(0, 1, (SIZE_PX // coarse + 1, SIZE_PX // coarse + 1, 3))
        noise = noise.repeat(coarse, 0).repeat(coarse, 1)[:SIZE_PX, :SIZE_PX]
        picture, edges = picture + amount * noise, edges * float(np.exp(-amount / 0.1))
    return np.clip(picture, 0, 1), edges


def _without_shape(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Only a background, a gradient of colours, or noise."""
    if rng.random() < 0.3:
        return rng.random(picture.shape)
    corners = rng.random((2, 2, 3)) if rng.random() < 0.5 else np.broadcast_to(picture[:1, :1], (2, 2, 3))
    across = np.linspace(0, 1, SIZE_PX)
    rows = corners[0][None] * (1 - across)[:, None, None] + corners[1][None] * across[:, None, None]
    return rows[:, :1] * (1 - across)[None, :, None] + rows[:, 1:] * across[None, :, None]


def bent(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Move a picture's pixels by a smooth random field of `amount` pixels (root mean square)."""
    field = ndimage.gaussian_filter(rng.normal(0, 1, (2, SIZE_PX, SIZE_PX)), (0, 4, 4), mode="wrap")
    field *= amount / np.sqrt(np.square(field).mean())
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    places = (y + field[0], x + field[1])
    channels = [ndimage.map_coordinates(picture[..., c], places, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, axis=-1)


def judged(picture: np.ndarray) -> float:
    """Judge a picture nobody drew by what the checker reads of it: a clean outline overlaps its template."""
    reading = read(picture)
    if reading.shape == "none":
        return 0.0
    edges = 1 / (1 + np.exp(-(reading.overlap - 0.78) / 0.04))
    return beauty(COLOURS[reading.colour], COLOURS[reading.background], POSITIONS[reading.position], float(edges))


def lessons(count: int, seed: int, *, from_held_out: bool = False) -> Lessons:
    """Draw pictures and judge them; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return _stacked([drawn(rng, from_held_out=from_held_out) for _ in range(count)])


def sampled(count: int, first_seed: int) -> Lessons:
    """Sample tiny-ddpm, and judge by what the checker reads."""
    from tastemaker.loaders import load_diffusion_model
    from tastemaker.sampling import SampleOptions, sample

    options = SampleOptions(at_once=48)
    seeds = range(first_seed, first_seed + count)
    samples = sample(load_diffusion_model("tiny-ddpm"), scheduler="ddim", steps=12, seeds=seeds, options=options)
    pictures = [image.numpy() for image in samples.images]
    return _stacked([(picture, judged(picture)) for picture in pictures])


def _stacked(rows: list[tuple[np.ndarray, float]]) -> Lessons:
    pictures = np.stack([np.round(picture * 255).astype(np.uint8) for picture, _ in rows])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    return Lessons(pixels, torch.tensor([mark for _, mark in rows], dtype=torch.float32))


def together(*parts: Lessons) -> Lessons:
    return Lessons(torch.cat([p.pixels for p in parts]), torch.cat([p.beauty for p in parts]))


def train(taught: Lessons, *, seed: int, device: str, steps: int = STEPS) -> ResNetScore:
    """Return the averaged network, taught by squared error."""
    torch.manual_seed(seed)
    network = ResNetScore(WIDTHS, EMBEDDING).to(device).train()
    learner = Learner("aesthetic", network, lr=LEARNING_RATE, steps=steps, decay=0.99)
    for index in batches(len(taught.beauty), BATCH, steps, seed):
        pixels = normalized(_mirrored(taught.pixels[index]).float() / 255, CLIP_MEAN, CLIP_STD).to(device)
        with autocast(device):
            given = network(pixels)
        learner(F.smooth_l1_loss(given.float(), taught.beauty[index].to(device)))
    return learner.average


def _mirrored(pixels: torch.Tensor) -> torch.Tensor:
    """Half of the pictures, left and right exchanged: it is as beautiful."""
    return torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(3), pixels)

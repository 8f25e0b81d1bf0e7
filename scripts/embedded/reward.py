"""Train tiny-imagereward: ImageReward's architecture and its pairwise loss, on the captioned world.

For each caption four pictures are ranked: one that matches, one with a single thing wrong (or the
right one spoilt by blur or noise), one with two or three things wrong, and an unrelated one. The
loss is the paper's (eq. 1): -log sigmoid(r_i - r_j), averaged over all pairs that i should win.

ImageReward starts from a BLIP that already sees and reads, and keeps most of it fixed. Here the ViT
first learns to see by naming the fields of a scene (`see`), then stays as it is while the text tower
and the MLP learn to rank: a broad course as above, then a near one, in which two of the four
pictures have one thing wrong each, shapes and places more often, as those are learned last. Beside
the ranking the text tower names the fields of the caption; the heads for naming are thrown away.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tastemaker.rewards.models._blip_models import SCORE_MEAN, SCORE_STD, ImageRewardModel
from tastemaker.rewards.models._text import TextReader, bert_texts
from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, normalized

from .tokenizers import write_bert_vocabulary
from .training import Learner, autocast
from .world import (
    COLOURS,
    POSITIONS,
    SHAPES,
    SIZES,
    Caption,
    Jitter,
    Scene,
    caption,
    draw,
    held_out,
    random_scene,
)

BATCH, SEEING_STEPS, SEEING_BATCH = 24, 3000, 64
DRAWINGS = 2  # jittered pictures kept of each scene
RANKS = 4  # pictures ranked for each caption
VIT = {"image_size": 64, "patch_size": 8, "width": 96, "depth": 4, "heads": 4}
_HARD = {"shape": 3.0, "position": 3.0}  # drawn this much more often in the near course
_VALUES = {
    "shape": tuple(SHAPES),
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "size": tuple(SIZES),
    "position": tuple(POSITIONS),
}


def med_config(vocab_size: int) -> dict[str, object]:
    """Return the small model's `med_config.json`."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": 96,
        "encoder_width": VIT["width"],
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }


def altered(scene: Scene, fields: Sequence[str], rng: np.random.Generator) -> Scene:
    """Return the scene with each of `fields` changed to another value; the two colours stay different."""
    while True:
        changes = {f: str(rng.choice([v for v in _VALUES[f] if v != getattr(scene, f)])) for f in fields}
        changed = dataclasses.replace(scene, **changes)
        if changed.colour != changed.background:
            return changed


def unrelated(scene: Scene, rng: np.random.Generator, *, from_held_out: bool) -> Scene:
    """Return a random scene with another shape, colour and background."""
    while True:
        other = random_scene(rng, from_held_out=from_held_out)
        if all(getattr(other, f) != getattr(scene, f) for f in ("shape", "colour", "background")):
            return other


class Naming(nn.Module):
    """Heads that name the scene's fields from one feature vector; used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({f: nn.Linear(width, len(v)) for f, v in _VALUES.items()})

    def loss(self, features: torch.Tensor, scenes: Sequence[Scene], said: Sequence[Sequence[str]]) -> torch.Tensor:
        """Mean cross entropy over the fields each row `said`. Shape: features (B, D)."""
        losses = []
        for name, head in self.heads.items():
            rows = [i for i, fields in enumerate(said) if name in fields]
            if rows:
                target = torch.tensor([_VALUES[name].index(getattr(scenes[i], name)) for i in rows])
                losses.append(F.cross_entropy(head(features[rows]).float(), target.to(features.device)))
        return torch.stack(losses).mean()


def _places(side: int, width: int) -> torch.Tensor:
    """Two-dimensional sine and cosine positions, (side * side, width)."""
    frequency = 30.0 ** (-torch.arange(width // 4) / (width // 4))
    line = torch.arange(side, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    waves = [wave(axis.flatten()[:, None] * frequency) for axis in (x, y) for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)


@torch.no_grad()
def _start_wide(network: ImageRewardModel) -> None:
    """Weights of unit gain: at this width BERT's 0.02 would hide the picture from the text, and the
    place of a patch from its content."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    embeddings = network.vision.embeddings
    nn.init.normal_(embeddings.patch_embedding.weight, std=(3 * VIT["patch_size"] ** 2) ** -0.5)
    side = VIT["image_size"] // VIT["patch_size"]
    embeddings.position_embedding[0, 1:] = 0.7 * _places(side, VIT["width"])
    for layer in network.vision.encoder.layers:
        layer.self_attn.projection.weight.mul_(0.5)
        layer.mlp.fc2.weight.mul_(0.5)


def _recoloured(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) in [0, 1] in other colours: what a shape is does not depend on them."""
    count = len(pixels)
    order = torch.stack([torch.randperm(3) for _ in range(count)])[:, :, None, None]
    mixed = torch.gather(pixels, 1, order.expand_as(pixels))
    inverted = (torch.rand(count, 3, 1, 1) < 0.5).float()
    mixed = inverted * (1 - mixed) + (1 - inverted) * mixed
    low, high = 0.3 * torch.rand(count, 3, 1, 1), 1 - 0.3 * torch.rand(count, 3, 1, 1)
    return low + (high - low) * mixed


def see(network: ImageRewardModel, gallery: Gallery, *, seed: int, device: str, steps: int = SEEING_STEPS) -> None:
    """Teach the ViT, in place, to name scenes; two thirds of the pictures in other colours."""
    torch.manual_seed(seed)
    vision, naming = network.vision.train(), Naming(VIT["width"]).to(device)
    learning = [*vision.parameters(), *naming.parameters()]
    learner = Learner("reward, seeing", vision, lr=1e-3, steps=steps, learning=learning, clipped=vision.parameters())
    rng = np.random.default_rng(seed)
    other = SEEING_BATCH * 2 // 3
    said = [("shape", "size", "position")] * other + [tuple(_VALUES)] * (SEEING_BATCH - other)
    for _ in range(steps):
        scenes = [gallery.scenes[i] for i in rng.integers(len(gallery.scenes), size=SEEING_BATCH)]
        pictures = np.stack([gallery.show(scene, rng) for scene in scenes])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        pixels = normalized(torch.cat([_recoloured(pixels[:other]), pixels[other:]]), CLIP_MEAN, CLIP_STD)
        shift = tuple(int(n) for n in rng.integers(-2, 3, size=2))
        pixels = torch.roll(pixels, shift, dims=(2, 3))
        pixels = (pixels + 0.05 * torch.randn_like(pixels)).to(device)
        with autocast(device):
            features = vision(pixels).last_hidden_state[:, 0]
        loss = naming.loss(features.float(), scenes, said)
        learner(loss)
    vision.load_state_dict(learner.average.state_dict())
    vision.requires_grad_(False)


class Gallery:
    """Pictures of every scene outside the held-out combinations, uint8 (3, H, W) each."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        every = (Scene(*values) for values in itertools.product(*_VALUES.values()))
        self.scenes = [s for s in every if s.colour != s.background and not held_out(s)]
        self.pictures = {s: [_to_bytes(draw(s, Jitter.random(rng))) for _ in range(DRAWINGS)] for s in self.scenes}

    def show(self, scene: Scene, rng: np.random.Generator) -> np.ndarray:
        return self.pictures[scene][rng.integers(DRAWINGS)]


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(picture * 255).astype(np.uint8)


def _spoilt(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurred to 12-20 px, or covered with noise."""
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(25, 60), picture.shape)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)
    size = int(rng.integers(12, 20))
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    small = F.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)
    large = F.interpolate(small, size=picture.shape[:2], mode="bicubic").clamp(0, 255)
    return large[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


class Four(NamedTuple):
    """A scene, its caption, and four pictures ranked by how well they fit it, best first."""

    scene: Scene
    said: Caption
    pictures: list[np.ndarray]


def _broad_four(gallery: Gallery, rng: np.random.Generator) -> Four:
    """Right; one thing wrong, or spoilt; two or three things wrong; unrelated."""
    scene = gallery.scenes[rng.integers(len(gallery.scenes))]
    said = caption(scene, rng)
    best = gallery.show(scene, rng)
    if rng.random() < 0.15:
        second = _spoilt(best, rng)
    else:
        second = gallery.show(_inside(gallery, scene, [rng.choice(said.mentions)], rng), rng)
    count = int(rng.integers(2, 4))
    third = gallery.show(_inside(gallery, scene, rng.permutation(said.mentions)[:count], rng), rng)
    fourth = gallery.show(unrelated(scene, rng, from_held_out=False), rng)
    return Four(scene, said, [best, second, third, fourth])


def _near_four(gallery: Gallery, rng: np.random.Generator) -> Four:
    """Right; one thing wrong, or spoilt; another thing wrong; unrelated."""
    scene = gallery.scenes[rng.integers(len(gallery.scenes))]
    said = caption(scene, rng)
    weights = np.array([_HARD.get(field, 1.0) for field in said.mentions])
    first, other = rng.choice(said.mentions, 2, p=weights / weights.sum())
    best = gallery.show(scene, rng)
    spoilt = rng.random() < 0.1
    second = _spoilt(best, rng) if spoilt else gallery.show(_inside(gallery, scene, [first], rng), rng)
    third = gallery.show(_inside(gallery, scene, [other], rng), rng)
    fourth = gallery.show(unrelated(scene, rng, from_held_out=False), rng)
    return Four(scene, said, [best, second, third, fourth])


@dataclass(frozen=True)
class Course:
    """One course of training. `pairs` are the (better, worse) places of the four that are compared."""

    name: str
    make_four: Callable[[Gallery, np.random.Generator], Four]
    pairs: tuple[tuple[int, int], ...]
    steps: int
    learning_rate: float
    naming: float  # weight of naming the fields, at the start


_ALL_PAIRS = tuple(itertools.combinations(range(RANKS), 2))
COURSES = (
    Course("broad", _broad_four, _ALL_PAIRS, 2000, 1e-3, naming=1.0),
    Course("near", _near_four, tuple(p for p in _ALL_PAIRS if p != (1, 2)), 2500, 1e-3, naming=0.2),
)


def _inside(gallery: Gallery, scene: Scene, fields: Sequence[str], rng: np.random.Generator) -> Scene:
    while True:
        changed = altered(scene, fields, rng)
        if changed in gallery.pictures:
            return changed


def to_pixels(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 pictures (64, 64, 3) to normalised (B, 3, 64, 64)."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return normalized(pixels, CLIP_MEAN, CLIP_STD)


def ranking_loss(scores: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Pairwise loss over rankings. Shape: scores (B, K); `pairs` of (better, worse) columns."""
    better, worse = ([pair[i] for pair in pairs] for i in (0, 1))
    return -F.logsigmoid(scores[:, better] - scores[:, worse]).mean()


def train(folder: Path, *, seed: int, device: str) -> ImageRewardModel:
    """Return the trained network; writes `vocab.txt` under `folder`."""
    torch.manual_seed(seed)
    vocab_size = write_bert_vocabulary(folder)
    tokenizer = bert_texts(folder)
    network = ImageRewardModel(VIT, med_config(vocab_size))
    _start_wide(network)
    network.to(device)
    gallery = Gallery(seed)
    see(network, gallery, seed=seed, device=device)
    for number, course in enumerate(COURSES, start=1):
        network = _take(course, network, tokenizer, gallery, seed=seed + number, device=device)
    standardise(network, tokenizer, gallery, seed=seed, device=device)
    return network


def _take(
    course: Course, network: ImageRewardModel, tokenizer: TextReader, gallery: Gallery, *, seed: int, device: str
) -> ImageRewardModel:
    """Train through one course. Returns the average of the weights."""
    torch.manual_seed(seed)
    network.train()
    naming = Naming(network.text.config.hidden_size).to(device)
    learning = [p for p in (*network.parameters(), *naming.parameters()) if p.requires_grad]
    name = f"reward, {course.name}"
    learner = Learner(name, network, lr=course.learning_rate, steps=course.steps, learning=learning)
    rng = np.random.default_rng(seed)
    for step in range(course.steps):
        fours = [course.make_four(gallery, rng) for _ in range(BATCH)]
        pixels, ids, mask = (t.to(device) for t in _inputs(tokenizer, fours))
        pixels = pixels + 0.03 * torch.rand_like(pixels[:, :1, :1, :1]) * torch.randn_like(pixels)
        with autocast(device):
            scores = network(pixels, ids, mask)
            words = network.text(input_ids=ids[::RANKS], attention_mask=mask[::RANKS]).last_hidden_state
        reads = naming.loss(words[:, 0].float(), [f.scene for f in fours], [f.said.mentions for f in fours])
        loss = ranking_loss(scores.view(BATCH, RANKS), course.pairs)
        total = loss + course.naming * max(0.0, 1 - step / (0.7 * course.steps)) * reads
        learner(total, shown=loss)
    return learner.average


def _inputs(tokenizer: TextReader, fours: Sequence[Four]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels (B*4, 3, H, W), token ids and mask (B*4, 35)."""
    pixels = to_pixels([p for four in fours for p in four.pictures])
    ids, mask = tokenizer([four.said.text for four in fours])
    return pixels, ids.repeat_interleave(RANKS, 0), mask.repeat_interleave(RANKS, 0)


@torch.no_grad()
def standardise(network: ImageRewardModel, tokenizer: TextReader, gallery: Gallery, *, seed: int, device: str) -> None:
    """Rescale the last layer so that scores of matching and unrelated pictures have mean 0 and standard deviation 1."""
    rng = np.random.default_rng(seed + 1)
    raw = []
    for _ in range(8):
        fours = [_broad_four(gallery, rng) for _ in range(32)]
        inputs = (t.to(device) for t in _inputs(tokenizer, fours))
        raw.append(network(*inputs) * SCORE_STD + SCORE_MEAN)
    raw = torch.cat(raw)
    last = network.mlp[-1]
    scale = SCORE_STD / raw.std()
    last.weight.mul_(scale)
    last.bias.copy_((last.bias - raw.mean()) * scale + SCORE_MEAN)

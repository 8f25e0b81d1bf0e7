"""Train tiny-imagereward and tiny-emoji-reward: ImageReward's architecture and its pairwise loss, on a captioned world.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tastemaker.rewards.models._blip_models import SCORE_MEAN, SCORE_STD, ImageRewardModel
from tastemaker.rewards.models._text import TextReader, bert_texts
from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, normalized

from .tokenizers import write_bert_vocabulary
from .training import Learner, autocast
from .worlds import EMOJI, SHAPES, World

BATCH, SEEING_BATCH = 24, 64
RANKS = 4  # pictures ranked for each caption
WIDTH = 96


@dataclass(frozen=True)
class Plan:
    """What is trained, and how."""

    name: str
    world: World
    patch_size: int
    seeing_steps: int
    course_steps: tuple[int, int]
    drawings: int  # jittered pictures kept of each scene
    hard: Mapping[str, float]  # fields drawn this much more often in the near course
    without_colour: tuple[str, ...] = ()  # what the ViT also learns to name in other colours

    @property
    def vit(self) -> dict[str, int]:
        return {
            "image_size": self.world.size_px,
            "patch_size": self.patch_size,
            "width": WIDTH,
            "depth": 4,
            "heads": 4,
        }


SHAPES_PLAN = Plan(
    name="tiny-imagereward",
    world=SHAPES,
    patch_size=8,
    seeing_steps=3000,
    course_steps=(2000, 2500),
    drawings=2,
    hard={"shape": 3.0, "position": 3.0},
    without_colour=("shape", "size", "position"),
)
EMOJI_PLAN = Plan(
    name="tiny-emoji-reward",
    world=EMOJI,
    patch_size=12,
    seeing_steps=1500,
    course_steps=(1200, 1500),
    drawings=5,
    hard={"size": 2.0, "place": 2.0},
)


def med_config(vocab_size: int) -> dict[str, object]:
    """Return the small model's `med_config.json`."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": 96,
        "encoder_width": WIDTH,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }


def altered(world: World, scene: Any, fields: Sequence[str], rng: np.random.Generator) -> Any:
    """Return the scene with each of `fields` changed to another value; the two colours stay different."""
    while True:
        others = {f: [v for v in world.values[f] if v != getattr(scene, f)] for f in fields}
        changed = dataclasses.replace(scene, **{f: str(rng.choice(values)) for f, values in others.items()})
        if world.possible(changed):
            return changed


def unrelated(world: World, scene: Any, rng: np.random.Generator, *, from_held_out: bool) -> Any:
    """Return a random scene in which everything of `world.far` differs."""
    while True:
        other = world.random_scene(rng, from_held_out=from_held_out)
        if all(getattr(other, f) != getattr(scene, f) for f in world.far):
            return other


class Naming(nn.Module):
    """Heads that name the scene's fields from one feature vector; used in training only."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.values = world.values
        self.heads = nn.ModuleDict({f: nn.Linear(WIDTH, len(v)) for f, v in world.values.items()})

    def loss(self, features: torch.Tensor, scenes: Sequence[Any], said: Sequence[Sequence[str]]) -> torch.Tensor:
        """Mean cross entropy over the fields each row `said`. Shape: features (B, D)."""
        losses = []
        for name, head in self.heads.items():
            rows = [i for i, fields in enumerate(said) if name in fields]
            if rows:
                target = torch.tensor([self.values[name].index(getattr(scenes[i], name)) for i in rows])
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
def _start_wide(network: ImageRewardModel, vit: Mapping[str, int]) -> None:
    """Weights of unit gain: at this width BERT's 0.02 would hide the picture from the text, and the
    place of a patch from its content."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    embeddings = network.vision.embeddings
    nn.init.normal_(embeddings.patch_embedding.weight, std=(3 * vit["patch_size"] ** 2) ** -0.5)
    side = vit["image_size"] // vit["patch_size"]
    embeddings.position_embedding[0, 1:] = 0.7 * _places(side, WIDTH)
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


def see(network: ImageRewardModel, gallery: Gallery, plan: Plan, *, seed: int, device: str) -> None:
    """Teach the ViT, in place, to name scenes; two thirds of the pictures in other colours, where that is possible."""
    torch.manual_seed(seed)
    vision, naming = network.vision.train(), Naming(plan.world).to(device)
    learning = [*vision.parameters(), *naming.parameters()]
    settings = {"lr": 1e-3, "steps": plan.seeing_steps, "learning": learning, "clipped": vision.parameters()}
    learner = Learner("reward, seeing", vision, **settings)
    rng = np.random.default_rng(seed)
    other = SEEING_BATCH * 2 // 3 if plan.without_colour else 0
    said = [plan.without_colour] * other + [tuple(plan.world.values)] * (SEEING_BATCH - other)
    for _ in range(plan.seeing_steps):
        scenes = [gallery.scenes[i] for i in rng.integers(len(gallery.scenes), size=SEEING_BATCH)]
        pictures = np.stack([gallery.show(scene, rng) for scene in scenes])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        if other:
            pixels = torch.cat([_recoloured(pixels[:other]), pixels[other:]])
        pixels = normalized(pixels, CLIP_MEAN, CLIP_STD)
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
    """Pictures of every scene outside the held-out combinations, uint8 (H, W, 3) each."""

    def __init__(self, plan: Plan, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.plan, self.world = plan, plan.world
        self.scenes = plan.world.taught()
        self.pictures = {s: [plan.world.draw(s, rng) for _ in range(plan.drawings)] for s in self.scenes}

    def show(self, scene: Any, rng: np.random.Generator) -> np.ndarray:
        return self.pictures[scene][rng.integers(self.plan.drawings)]

    def altered(self, scene: Any, fields: Sequence[str], rng: np.random.Generator) -> Any | None:
        """Return one of these scenes, with `fields` changed; None where every such scene seems held out."""
        tries = (altered(self.world, scene, fields, rng) for _ in range(100))
        return next((changed for changed in tries if changed in self.pictures), None)

    def changed(self, scene: Any, fields: Sequence[str], rng: np.random.Generator) -> np.ndarray | None:
        """Return a picture of the scene with `fields` changed; None as `altered`."""
        scene = self.altered(scene, fields, rng)
        return None if scene is None else self.show(scene, rng)


def _spoilt(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurred to a fifth or a third of its size, or covered with noise."""
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(25, 60), picture.shape)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)
    side = picture.shape[0]
    size = int(rng.integers(12 * side // 64, 20 * side // 64))
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)
    large = F.interpolate(small, size=picture.shape[:2], mode="bicubic").clamp(0, 255)
    return large[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


class Four(NamedTuple):
    """A scene, its caption, and four pictures ranked by how well they fit it, best first."""

    scene: Any
    said: Any  # the world's Caption
    pictures: list[np.ndarray]


def _broad_four(gallery: Gallery, rng: np.random.Generator) -> Four | None:
    """Right; one thing wrong, or spoilt; two or three things wrong; unrelated."""
    scene = gallery.scenes[rng.integers(len(gallery.scenes))]
    said = gallery.world.caption(scene, rng)
    best = gallery.show(scene, rng)
    spoilt = rng.random() < 0.15
    second = _spoilt(best, rng) if spoilt else gallery.changed(scene, [rng.choice(said.mentions)], rng)
    count = int(rng.integers(2, 4))
    third = gallery.changed(scene, rng.permutation(said.mentions)[:count], rng)
    return _four(gallery, scene, said, [best, second, third], rng)


def _four(
    gallery: Gallery, scene: Any, said: Any, pictures: Sequence[np.ndarray | None], rng: np.random.Generator
) -> Four | None:
    """Return the three and an unrelated one; None where one of them is held out."""
    fourth = gallery.show(unrelated(gallery.world, scene, rng, from_held_out=False), rng)
    known = [picture for picture in (*pictures, fourth) if picture is not None]
    return Four(scene, said, known) if len(known) == RANKS else None


def _near_four(gallery: Gallery, rng: np.random.Generator) -> Four | None:
    """Right; one thing wrong, or spoilt; another thing wrong; unrelated."""
    scene = gallery.scenes[rng.integers(len(gallery.scenes))]
    said = gallery.world.caption(scene, rng)
    weights = np.array([gallery.plan.hard.get(field, 1.0) for field in said.mentions])
    first, other = rng.choice(said.mentions, 2, p=weights / weights.sum())
    best = gallery.show(scene, rng)
    spoilt = rng.random() < 0.1
    second = _spoilt(best, rng) if spoilt else gallery.changed(scene, [first], rng)
    third = gallery.changed(scene, [other], rng)
    return _four(gallery, scene, said, [best, second, third], rng)


@dataclass(frozen=True)
class Course:
    """One course of training. `pairs` are the (better, worse) places of the four that are compared."""

    name: str
    make_four: Callable[[Gallery, np.random.Generator], Four | None]
    pairs: tuple[tuple[int, int], ...]
    naming: float  # weight of naming the fields, at the start

    def fours(self, gallery: Gallery, count: int, rng: np.random.Generator) -> list[Four]:
        """Return `count` fours, none with a picture of a held-out scene."""
        endless = (self.make_four(gallery, rng) for _ in itertools.count())
        return list(itertools.islice((four for four in endless if four is not None), count))


_ALL_PAIRS = tuple(itertools.combinations(range(RANKS), 2))
COURSES = (
    Course("broad", _broad_four, _ALL_PAIRS, naming=1.0),
    Course("near", _near_four, tuple(p for p in _ALL_PAIRS if p != (1, 2)), naming=0.2),
)


def to_pixels(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 pictures (H, W, 3) to normalised (B, 3, H, W)."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return normalized(pixels, CLIP_MEAN, CLIP_STD)


def ranking_loss(scores: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Pairwise loss over rankings. Shape: scores (B, K); `pairs` of (better, worse) columns."""
    better, worse = ([pair[i] for pair in pairs] for i in (0, 1))
    return -F.logsigmoid(scores[:, better] - scores[:, worse]).mean()


def train(folder: Path, plan: Plan, *, seed: int, device: str) -> ImageRewardModel:
    """Return the trained network; writes `vocab.txt` under `folder`."""
    torch.manual_seed(seed)
    vocab_size = write_bert_vocabulary(folder, plan.world.vocabulary())
    tokenizer = bert_texts(folder)
    network = ImageRewardModel(plan.vit, med_config(vocab_size))
    _start_wide(network, plan.vit)
    network.to(device)
    gallery = Gallery(plan, seed)
    see(network, gallery, plan, seed=seed, device=device)
    for number, (course, steps) in enumerate(zip(COURSES, plan.course_steps, strict=True), start=1):
        network = _take(course, steps, network, tokenizer, gallery, seed=seed + number, device=device)
    standardise(network, tokenizer, gallery, seed=seed, device=device)
    return network


def _take(
    course: Course,
    steps: int,
    network: ImageRewardModel,
    tokenizer: TextReader,
    gallery: Gallery,
    *,
    seed: int,
    device: str,
) -> ImageRewardModel:
    """Train through one course. Returns the average of the weights."""
    torch.manual_seed(seed)
    network.train()
    naming = Naming(gallery.world).to(device)
    learning = [p for p in (*network.parameters(), *naming.parameters()) if p.requires_grad]
    name = f"reward, {course.name}"
    learner = Learner(name, network, lr=1e-3, steps=steps, learning=learning)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        fours = course.fours(gallery, BATCH, rng)
        pixels, ids, mask = (t.to(device) for t in _inputs(tokenizer, fours))
        pixels = pixels + 0.03 * torch.rand_like(pixels[:, :1, :1, :1]) * torch.randn_like(pixels)
        with autocast(device):
            scores = network(pixels, ids, mask)
            words = network.text(input_ids=ids[::RANKS], attention_mask=mask[::RANKS]).last_hidden_state
        reads = naming.loss(words[:, 0].float(), [f.scene for f in fours], [f.said.mentions for f in fours])
        loss = ranking_loss(scores.view(BATCH, RANKS), course.pairs)
        total = loss + course.naming * max(0.0, 1 - step / (0.7 * steps)) * reads
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
        fours = COURSES[0].fours(gallery, 32, rng)
        inputs = (t.to(device) for t in _inputs(tokenizer, fours))
        raw.append(network(*inputs) * SCORE_STD + SCORE_MEAN)
    raw = torch.cat(raw)
    last = network.mlp[-1]
    scale = SCORE_STD / raw.std()
    last.weight.mul_(scale)
    last.bias.copy_((last.bias - raw.mean()) * scale + SCORE_MEAN)

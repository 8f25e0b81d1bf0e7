"""Measure the embedded models as they ship and write `assets/MODEL_CARD.md`.

Everything is measured on the float16 files under `assets/`, through the library that users call.
"""

from __future__ import annotations

import datetime
import json
import logging
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr

from tastemaker.core.assets import EMBEDDED_MODELS, EMBEDDED_REWARDS, asset_folder
from tastemaker.core.progress import LoggedProgress
from tastemaker.loaders import load_diffusion_model
from tastemaker.rewards import Reward, load_reward
from tastemaker.sampling import SampleOptions, sample

from . import aesthetic
from .checker import CLEAN_IOU, read
from .reward import altered, unrelated
from .worlds import SHAPES, World

Scores = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]
log = logging.getLogger(__name__)
SEED = 2024


class Correlation(NamedTuple):
    """Spearman's rank correlation over so many pictures."""

    rho: float
    pictures: int

    @property
    def percent(self) -> str:
        return f"{self.rho:.3f} ({self.pictures} pictures)"


class Share(NamedTuple):
    """How many of how many."""

    right: int
    total: int

    @property
    def percent(self) -> str:
        return f"{100 * self.right / self.total:.1f}% ({self.right} of {self.total})"


def agreement(
    world: World, scenes: Sequence[Any], readings: Sequence[Any], said: Sequence[tuple[str, ...]]
) -> dict[str, Share]:
    """For each field, and for all of them, how often a reading is right, over the rows whose caption `said` it."""
    right, total = Counter(), Counter()
    for scene, reading, fields in zip(scenes, readings, said, strict=True):
        agreed = [getattr(scene, name) == getattr(reading, name) for name in fields]
        for name, one in zip((*fields, "everything"), (*agreed, all(agreed)), strict=True):
            total[name] += 1
            right[name] += one
    return {name: Share(right[name], total[name]) for name in (*world.fields, "everything") if total[name]}


def measure_checker(count: int = 2000, *, world: World = SHAPES) -> dict[str, Share]:
    """Measure a world's checker on pictures as drawn."""
    rng = np.random.default_rng(SEED)
    scenes = [world.random_scene(rng, from_held_out=i % 2 == 0) for i in range(count)]
    readings = [world.read(world.draw(s, rng) / 255) for s in scenes]
    figures = agreement(world, scenes, readings, [world.fields] * count)
    return {name: figures[name] for name in world.fields}


def held_out_captions(world: World, count: int) -> tuple[list[Any], list[Any]]:
    """Scenes of combinations never trained on, and their captions."""
    rng = np.random.default_rng(SEED + 1)
    scenes = [world.random_scene(rng, from_held_out=True) for _ in range(count)]
    return scenes, [world.caption(s, rng) for s in scenes]


def measure_sdxl(
    count: int = 500,
    *,
    source: str | Path = "tiny-sdxl",
    world: World = SHAPES,
    steps: int = 25,
    guidance_scale: float = 4.0,
) -> dict[str, Share]:
    """Measure an embedded SDXL model on held-out captions, DDIM."""
    model = load_diffusion_model(source)
    scenes, said = held_out_captions(world, count)
    samples = sample(
        model,
        [c.text for c in said],
        scheduler="ddim",
        steps=steps,
        guidance_scale=guidance_scale,
        seeds=range(count),
        options=SampleOptions(at_once=50),
        progress=LoggedProgress(log),
    )
    readings = [world.read(image.numpy()) for image in samples.images]
    return agreement(world, scenes, readings, [c.mentions for c in said])


def measure_ddpm(count: int = 300, *, steps: int = 50, eta: float = 1.0) -> Share:
    """How many of tiny-ddpm's samples are read as a clean shape, DDIM."""
    model = load_diffusion_model("tiny-ddpm")
    samples = sample(
        model,
        scheduler="ddim",
        steps=steps,
        eta=eta,
        seeds=range(count),
        options=SampleOptions(at_once=50),
        progress=LoggedProgress(log),
    )
    return Share(sum(read(image.numpy()).clean for image in samples.images), count)


def measure_reward(count: int = 2000, *, reward: Scores | None = None, world: World = SHAPES) -> dict[str, Share]:
    """Measure how often a reward, else tiny-imagereward, scores the matching picture of held-out captions higher."""
    reward = reward or load_reward("tiny-imagereward")
    scenes, said = held_out_captions(world, count)
    rng = np.random.default_rng(SEED + 2)
    differing = [str(rng.choice(c.mentions)) for c in said]
    near = [altered(world, s, [field], rng) for s, field in zip(scenes, differing, strict=True)]
    far = [unrelated(world, s, rng, from_held_out=True) for s in scenes]
    prompts = [c.text for c in said]
    matching, one_off, other = (
        reward(torch.from_numpy(np.stack([world.draw(s, rng) for s in group])).float() / 255, prompts)
        for group in (scenes, near, far)
    )
    wins = matching > one_off
    figures = {
        "one attribute differs": Share(int(wins.sum()), count),
        "unrelated": Share(int((matching > other).sum()), count),
    }
    for field in world.fields:
        rows = torch.tensor([d == field for d in differing])
        figures[f"only the {field} differs"] = Share(int(wins[rows].sum()), int(rows.sum()))
    return figures


def measure_aesthetic(count: int = 2000, samples: int = 96) -> dict[str, Correlation]:
    """tiny-aesthetic against the rules, on drawn pictures of combinations it was not taught and new samples."""
    reward = load_reward("tiny-aesthetic")
    drawn = aesthetic.lessons(count, SEED, from_held_out=True)
    parts = {"drawn pictures, clean and spoilt": drawn}
    if samples:
        parts["samples of tiny-ddpm"] = aesthetic.sampled(samples, 10**6)
    return {name: _agreed(reward, part) for name, part in parts.items()}


def _agreed(reward: Reward, part: aesthetic.Lessons) -> Correlation:
    scores = reward(part.pixels.permute(0, 2, 3, 1).float() / 255, "")
    return Correlation(float(spearmanr(scores, part.beauty).statistic), len(scores))


TITLES = {
    "tiny-aesthetic": "rank correlation of its scores with the rules, held-out",
    "checker": "on 2,000 drawn pictures, right about the",
    "tiny-imagereward": "on 2,000 held-out captions the matching picture wins against",
    "tiny-ddpm": "of its samples",
    "tiny-sdxl": "on 500 captions of held-out combinations, right about the",
}


def _table(name: str, part: dict[str, Any]) -> str:
    kind = Correlation if name == "tiny-aesthetic" else Share
    shares = {field: kind(*figures) for field, figures in part["figures"].items()}
    rows = [f"| {field} | {share.percent} | {WANTED[name].get(field, '')} |" for field, share in shares.items()]
    return "\n".join(
        [f"| {TITLES[name]} | measured | wanted |", "|---|---|---|", *rows, "", f"Measured {part['made']}."]
    )


def _size(name: str) -> str:
    files = [p for p in asset_folder(name).rglob("*") if p.is_file()]
    return f"{sum(p.stat().st_size for p in files) / 1e6:.1f} MB"


MEASURES = {
    "checker": measure_checker,
    "tiny-imagereward": measure_reward,
    "tiny-aesthetic": measure_aesthetic,
    "tiny-ddpm": lambda: {"read as a clean shape": measure_ddpm()},
    "tiny-sdxl": measure_sdxl,
}
WANTED = {
    "tiny-aesthetic": {"drawn pictures, clean and spoilt": "0.9"},
    "checker": dict.fromkeys(SHAPES.fields, "99%"),
    "tiny-imagereward": {"one attribute differs": "97%", "unrelated": "99%"},
    "tiny-ddpm": {"read as a clean shape": "90%"},
    "tiny-sdxl": {"colour": "95%", "background": "95%", "shape": "90%"},
}


def write_card(names: Sequence[str] = tuple(MEASURES)) -> None:
    """Measure the named parts anew and write the card, other parts as measured before.

    The figures are kept in `assets/measurements.json`, each with its date and machine.
    """
    folder = asset_folder("tiny-sdxl").parent
    store = folder / "measurements.json"
    known = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    machine = f"{platform.machine()}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}"
    for name in names:
        figures = MEASURES[name]()
        log.info("%s: %s", name, figures)
        known[name] = {
            "figures": {field: list(share) for field, share in figures.items()},
            "made": f"{datetime.date.today().isoformat()}, {machine}",
        }
    store.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    tables = {name: _table(name, known[name]) if name in known else "Not measured yet." for name in MEASURES}
    sizes = {name: _size(name) for name in (*EMBEDDED_MODELS, *EMBEDDED_REWARDS)}
    card = CARD.format(iou=CLEAN_IOU, tables=tables, sizes=sizes)
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    log.info("wrote MODEL_CARD.md")


CARD = """# The embedded models

Four small models, trained from scratch for this pack on pictures that a program draws: one shaded
shape on a coloured background, 64 px, with captions in varied wording. They are real models of the
real architectures, so that everything in the pack works, and can be tested, on a laptop with no
download. They know nothing else: ask them for a cat and you get a shape.

Licence: Apache-2.0, like the rest of the repository. No picture or text of anybody's went into them.

Made and measured by `python -m scripts.embedded` (see its help); this page by
`python -m scripts.embedded measure`.

**The world**: shapes circle, square, triangle, star, heart, ring, cross, moon; colours and backgrounds
red, orange, yellow, green, blue, purple, pink, white; small or large; in the middle, on the left, on
the right, at the top, at the bottom. A tenth of the (shape, colour, background) combinations was kept
out of training; the figures for tiny-sdxl and tiny-imagereward are on those. A program reads shape,
colour and background back from a picture (`scripts/embedded/checker.py`):

{tables[checker]}

## tiny-sdxl ({sizes[tiny-sdxl]})

The classes of an SDXL pipeline: UNet2DConditionModel with `text_time` conditioning, CLIPTextModel,
CLIPTextModelWithProjection, AutoencoderKL; Playground v2's scheduler config and fp16 file names.
float16 weights, run in float32, DDIM, 25 steps, guidance 4, one picture a caption. A field counts
where the caption names it. It does not follow words for places (a fifth is chance): that is what
**Rank** is for, since tiny-imagereward reads them.

{tables[tiny-sdxl]}

## tiny-ddpm ({sizes[tiny-ddpm]})

An unconditional UNet2DModel in a DDPMPipeline folder, with google/ddpm-church-256's noise schedule; it
predicts the clean picture (`prediction_type="sample"`) and was taught large shapes of one size, exactly
in the middle. DDIM, 50 steps, eta 1. A clean shape overlaps its drawn template by at least {iou}
(intersection over union). What fails is mostly a shape of nearly its background's colour.

{tables[tiny-ddpm]}

## tiny-imagereward ({sizes[tiny-imagereward]})

ImageReward's architecture (BLIP's ViT and BERT with cross-attention, and the MLP) at small size, under
the official key names, taught with the paper's pairwise loss.

{tables[tiny-imagereward]}

## tiny-aesthetic ({sizes[tiny-aesthetic]})

A small residual network and an MLP, as LAION's aesthetic predictor is an image tower and an MLP: it reads
no prompt. It was taught, by Huber loss, stated rules (`scripts/embedded/aesthetic.py`), 0 to 10: how far
the shape's colour is from the background's (4 parts), hues a third of the circle apart or more (3), the
shape in the middle (3); all of it times how clean the edges are: no noise, blur, or bent outline. Every
shape, and many pairs of colours, reach the top. Its lessons were drawn pictures, spoilt ones, pictures
without a shape, and samples of tiny-ddpm whose marks come of what the checker reads.
An outline bent by a pixel or two it hardly minds, where the rules do; and it can be led above 10.

{tables[tiny-aesthetic]}
"""

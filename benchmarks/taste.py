"""How many clicks teach a taste: simulated people, held-out pair accuracy against clicks.

`python -m benchmarks.taste`. Each person has a hidden taste that is linear in the features: the crowd's score with
weight .6 and a random direction with .8, so sure of itself that a pair asked twice gets the same answer 80% of the
time. What is measured is the agreement with that person's (noisy) answers on pairs of pictures that no grid has shown.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from scripts.comfy.locate import ROOT
from scripts.embedded.world import Jitter, caption, draw, random_scene
from tastemaker.images.pictures import as_pictures
from tastemaker.plots.lines import Line, draw_lines
from tastemaker.rewards import load_reward
from tastemaker.taste.features import fit_recipe, group_means, look_at
from tastemaker.taste.head import (
    Posterior,
    choose_scale,
    expected_agreement,
    fit,
    self_agreement,
    stack_grids,
)
from tastemaker.taste.head import prior as head_prior
from tastemaker.taste.questions import GRID, most_telling_grid, random_grid

CHECKPOINTS = (0, 5, 10, 20, 40, 80)
PEOPLE, REPEATS, CROWD = 20, 0.80, 0.6
METHODS = {  # name -> grid size, whether grids are chosen
    "information gain, best of 6": (GRID, True),
    "random, best of 6": (GRID, False),
    "random pairs": (2, False),
}


_LABELS = {
    "stated": "stated minus true",
    "covered": "90% intervals cover",
    "found": "hidden best in the top 4 of 16",  # with the crowd's prior, 0 clicks are the crowd
}


class Measured(NamedTuple):
    """Of one person at each checkpoint: accuracy, stated accuracy, coverage, and the hidden best in the top 4 of 16."""

    accuracy: list[float]
    stated: list[float]
    covered: list[float]
    found: list[float]


def drawn_pictures(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Draw pictures of the embedded world with their captions."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, from_held_out=False) for _ in range(count)]
    pictures = np.stack([draw(scene, Jitter.random(rng)) for scene in scenes])
    return torch.from_numpy(pictures).float(), [caption(scene, rng).text for scene in scenes]


def sampled_pictures(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Sample pictures of tiny-sdxl, four of each caption."""
    from tastemaker.loaders import load_diffusion_model
    from tastemaker.sampling import sample

    rng = np.random.default_rng(seed)
    texts = [caption(random_scene(rng, from_held_out=False), rng).text for _ in range(count // 4)]
    prompts = [text for text in texts for _ in range(4)]
    model, parts = load_diffusion_model("tiny-sdxl"), []
    for first in range(0, count, 16):
        rows = slice(first, first + 16)
        seeds = range(seed * 10_000 + first, seed * 10_000 + first + len(prompts[rows]))
        made = sample(model, prompts[rows], scheduler="ddim", steps=12, guidance_scale=3.0, seeds=seeds)
        parts.append(made.images)
    return torch.cat(parts), prompts


def features_of(images: torch.Tensor, prompts: list[str]) -> np.ndarray:
    """Return what a taste sees of pictures: float64 (B, D), the crowd's score last."""
    reward = load_reward("tiny-imagereward")
    pictures = as_pictures(images)
    scores = reward(images, prompts)[:, None]
    seen, embedded = look_at(pictures, reward)
    recipe = fit_recipe(seen, embedded, scores, [reward.name], prompts)
    inside = scores - group_means(scores, prompts)
    return recipe.parts(seen, embedded, inside + recipe.reward_mean).double().numpy()


def hidden_taste(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a person's weights (D,), as sure as the repeats say."""
    direction = rng.standard_normal(features.shape[1])
    direction[-1] = 0.0
    spread = (features @ direction).std()
    weights = 0.8 * direction / spread
    weights[-1] = CROWD / features[:, -1].std()
    pairs = rng.integers(len(features), size=(4000, 2))
    differences = features[pairs[:, 0]] - features[pairs[:, 1]]
    low, high = 0.05, 50.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (
            (middle, high) if self_agreement(middle * weights[None], differences)[0] < REPEATS else (low, middle)
        )
    return low * weights


def answer(features: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> int:
    """Pick of a grid as the person does: Plackett-Luce, by Gumbel noise."""
    return int((features @ weights + rng.gumbel(size=len(features))).argmax())


def person(
    shown: np.ndarray, held_out: np.ndarray, weights: np.ndarray, method: str, prior: bool, seed: int
) -> Measured:
    """Ask one person 80 times."""
    size, chosen = METHODS[method]
    rng = np.random.default_rng(seed)
    pairs = rng.integers(len(held_out), size=(3000, 2))
    differences = held_out[pairs[:, 0]] - held_out[pairs[:, 1]]
    differences = differences[np.abs(differences).sum(1) > 0]
    width, crowd = shown.shape[1], int(prior)
    grids: list[np.ndarray] = []
    picks: list[int] = []
    result = Measured([], [], [], [])
    scale = choose_scale(stack_grids([], [], width), width, crowd)
    for asked in range(max(CHECKPOINTS) + 1):
        chooses = chosen and asked % 7 != 6  # one in seven is random, as the node does it
        if asked in CHECKPOINTS or chooses:
            stacked = stack_grids(grids, picks, width)
            scale = choose_scale(stacked, width, crowd) if asked in CHECKPOINTS or asked % 10 == 0 else scale
            posterior = fit(stacked, *head_prior(width, crowd, scale))
        if asked in CHECKPOINTS:
            _measure(result, posterior, weights, differences, rng)
            result.found.append(_found(held_out, weights, posterior.mean))
        if chooses:
            rows = most_telling_grid(shown @ posterior.draws(64, rng).T, size, rng)
        else:
            rows = random_grid(len(shown), size, rng)
        grids.append(shown[rows])
        picks.append(answer(shown[rows], weights, rng))
    return result


def _found(features: np.ndarray, weights: np.ndarray, learned: np.ndarray) -> float:
    """Return how often the hidden best of 16 pictures is among the first 4 by the learned weights."""
    rng = np.random.default_rng(0)
    batches = np.array([rng.choice(len(features), 16, replace=False) for _ in range(300)])
    best = (features[batches] @ weights).argmax(1)
    first = (-(features[batches] @ learned)).argsort(1)[:, :4]
    return float((first == best[:, None]).any(1).mean())


def _measure(
    result: Measured, posterior: Posterior, weights: np.ndarray, differences: np.ndarray, rng: np.random.Generator
) -> None:
    result.accuracy.append(float(expected_agreement(weights[None], posterior.mean, differences)[0]))
    result.stated.append(float(expected_agreement(posterior.draws(200, rng), posterior.mean, differences).mean()))
    spread = np.sqrt(np.einsum("pd,de,pe->p", differences, posterior.covariance, differences))
    result.covered.append(float((np.abs(differences @ (weights - posterior.mean)) < 1.645 * spread).mean()))


def curves(features: np.ndarray, people: int, seed: int) -> tuple[dict[str, list[Measured]], float]:
    """Measure every method on everybody. Returns them by name, and the ceiling."""
    half = len(features) // 2
    shown, held_out = features[:half], features[half:]
    found: dict[str, list[Measured]] = {}
    ceiling = []
    for number in range(people):
        weights = hidden_taste(features, np.random.default_rng(seed + number))
        pairs = np.random.default_rng(0).integers(len(held_out), size=(3000, 2))
        differences = held_out[pairs[:, 0]] - held_out[pairs[:, 1]]
        ceiling.append(float(expected_agreement(weights[None], weights, differences)[0]))
        for method in METHODS:
            for prior in (True, False):
                name = f"{method}, {'crowd prior' if prior else 'no prior'}"
                found.setdefault(name, []).append(person(shown, held_out, weights, method, prior, seed + number))
    return found, float(np.mean(ceiling))


def table(found: dict[str, list[Measured]], ceiling: float) -> str:
    """Word the curves as Markdown."""
    lines = ["| clicks | " + " | ".join(map(str, CHECKPOINTS)) + " |", "|---" * (len(CHECKPOINTS) + 1) + "|"]
    for name, people in found.items():
        values = np.array([one.accuracy for one in people])
        errors = values.std(0, ddof=1) / len(people) ** 0.5
        cells = [f"{m:.3f} ({e:.3f})" for m, e in zip(values.mean(0), errors, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for what in ("stated", "covered", "found"):
        for name, people in found.items():
            if "crowd" not in name:
                continue
            values = np.array([getattr(one, what) for one in people])
            if what == "stated":
                values = values - np.array([one.accuracy for one in people])
            label = _LABELS[what]
            lines.append(f"| {label}: {name} | " + " | ".join(f"{v:.3f}" for v in values.mean(0)) + " |")
    against = "information gain, best of 6, crowd prior", "random, best of 6, crowd prior"
    ours, others = (np.array([one.accuracy for one in found[name]]) for name in against)
    apart = ours - others
    error = apart.std(0, ddof=1) / len(apart) ** 0.5
    cells = [f"{m:+.3f} ({e:.3f})" for m, e in zip(apart.mean(0), error, strict=True)]
    lines.append(f"| {against[0]}, minus random grids, same people | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"Mean and standard error over {len(next(iter(found.values())))} people; the ceiling is {ceiling:.3f}.",
        ]
    )


def picture(found: dict[str, list[Measured]], ceiling: float, name: str) -> Image.Image:
    """Draw accuracy against clicks, with two standard errors."""
    lines = []
    for method, people in found.items():
        values = np.array([one.accuracy for one in people])
        error = 2 * values.std(0, ddof=1) / len(people) ** 0.5
        lines.append(Line(method, CHECKPOINTS, values.mean(0).tolist(), error.tolist()))
    people = len(next(iter(found.values())))
    return draw_lines(
        lines,
        f"How many clicks teach a taste: {people} simulated people, pictures: {name}",
        across="clicks",
        up="pairs picked as the person does, on pictures never asked about; two standard errors",
        even=True,
        level=("as often as the person agrees with itself", ceiling),
    )


def main() -> None:
    """Measure, write the tables."""
    from .common import machine, write_section

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=240)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--only", choices=("drawn", "tiny-sdxl"), default=None)
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    given = parser.parse_args()
    sources = {"drawn": drawn_pictures, "tiny-sdxl": sampled_pictures}
    parts = []
    for name, make in sources.items():
        if given.only in (None, name):
            start = time.process_time()
            features = features_of(*make(given.pictures, 1))
            found, ceiling = curves(features, given.people, 100)
            seconds = time.process_time() - start
            if not given.dry:
                picture(found, ceiling, name).save(ROOT / "docs" / f"taste_{name}.png", optimize=True)
            parts.append(f"### {name}: {len(features)} pictures, {features.shape[1]} features\n\n"
                         f"{table(found, ceiling)} {seconds:.0f} processor seconds.")  # fmt: skip
    body = "\n\n".join([__doc__ or "", *parts, machine()])
    if given.dry:
        print(body)
    else:
        write_section("Learning a taste", body)


if __name__ == "__main__":
    main()

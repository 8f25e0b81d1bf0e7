"""Training on a learned taste: does the hidden taste rise on prompts that were not trained on?

`python -m benchmarks.taste_training --seed 0` once a seed, then `report`. Somebody likes red more than blue, which no
feature of a taste says; 40 simulated clicks on pictures of tiny-sdxl, answers as noisy as people's; the taste that is
learned trains tiny-sdxl; the hidden taste judges pictures of held-out prompts, before and after, same seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tastemaker.loaders import load_diffusion_model
from tastemaker.ranking.intervals import win_rate
from tastemaker.rewards import load_reward
from tastemaker.sampling import sample
from tastemaker.taste import learn
from tastemaker.taste.clicks import Click
from tastemaker.taste.questions import GRID, most_telling_grid, random_grid
from tastemaker.training import finetune, preset
from tastemaker.training.heldout import diversity

from .common import machine, write_section
from .ddpo import prompts
from .taste import sampled_pictures

CLICKS, PICTURES, EPOCHS = 40, 64, 12
WAYS: dict[str, dict[str, Any]] = {
    "reward_gradient": {
        **{"algorithm": "reward_gradient", "samples_per_epoch": 32, "updates_per_epoch": 2, "learning_rate": 6e-4},
    },
    "matching": {"algorithm": "matching", "updates_per_epoch": 2, "timesteps_per_picture": 4},
}


def hidden(images: torch.Tensor) -> torch.Tensor:
    """What this person likes: red over blue, the mean over the picture. Shape: (B, H, W, 3) to (B,)."""
    return (images[..., 0] - images[..., 2]).mean((1, 2))


def taught(seed: int, reward: Any) -> tuple[Any, float]:
    """Let the person click; return the taste, and its rank correlation with the hidden one on the second half."""
    images, texts = sampled_pictures(240, 10 + seed)
    half = len(images) // 2
    rng = np.random.default_rng(seed)
    likes = hidden(images).numpy()
    sureness = 2.0 / likes[:half].std()  # a pair asked twice gets the same answer about four times in five
    ids = [f"{i:016x}" for i in range(half)]
    shown, clicks, taste = images[:half], [], None
    scores = reward(shown, texts[:half])[:, None]
    for asked in range(CLICKS):
        taste, features = learn(clicks, shown, reward, ids=ids, scores=scores, prompts=texts[:half])
        if asked % 7 == 6:
            grid = random_grid(half, GRID, rng)
        else:
            grid = most_telling_grid(features.double().numpy() @ taste.posterior.draws(64, rng).T, GRID, rng)
        picked = int((sureness * likes[grid] + rng.gumbel(size=len(grid))).argmax())
        clicks.append(Click(tuple(ids[i] for i in grid), ids[grid[picked]], "telling", asked + 1))
    taste, _ = learn(clicks, shown, reward, ids=ids, scores=scores, prompts=texts[:half])
    others = taste.reward([reward])(images[half:], texts[half:]).numpy()
    ranks = [np.argsort(np.argsort(values)) for values in (others, likes[half:])]
    return taste, float(np.corrcoef(*ranks)[0, 1])


def run(seed: int, way: str, out: Path) -> None:
    """Teach, train, judge; writes OUT/WAY-SEED.json."""
    torch.set_num_threads(1)
    reward, model = load_reward("tiny-imagereward"), load_diffusion_model("tiny-sdxl")
    taste, correlation = taught(seed, reward)
    practised, held_out = prompts("a {} {} on a {} background")
    config = preset("CPU", **WAYS[way], epochs=EPOCHS, seed=seed, sample_every=0, guard="off")
    begun = time.process_time()
    with finetune(model, taste.reward([reward]), practised, config) as learning:
        list(learning)
        tuned = learning.model
    seconds = time.process_time() - begun
    labels = [held_out[i // 4 % len(held_out)] for i in range(PICTURES)]
    seeds = range(10**6, 10**6 + PICTURES)
    before, after = (
        sample(m, labels, seeds=seeds, scheduler="ddim", steps=25, guidance_scale=3.0).images for m in (model, tuned)
    )
    liked = hidden(before), hidden(after)
    wins = win_rate(*liked)
    found = {
        **{"seed": seed, "way": way, "seconds": seconds, "correlation": correlation},
        **{"wins": wins.value, "low": wins.low, "high": wins.high, "change": float((liked[1] - liked[0]).mean())},
        **{"spread": float(liked[0].std()), "diversity": diversity(after, labels) / diversity(before, labels)},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{way}-{seed}.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found), flush=True)


def report(out: Path) -> None:
    """Write the table of the runs in a folder."""
    rows = []
    for path in sorted(out.glob("*.json")):
        found = json.loads(path.read_text())
        rows.append(
            f"| {found['way']} | {found['seed']} | {found['correlation']:.2f} | {found['seconds']:.0f} | "
            f"{found['wins']:.2f} ({found['low']:.2f} to {found['high']:.2f}) | "
            f"{found['change'] / found['spread']:+.2f} | {found['diversity']:.0%} |"
        )
    write_section(
        "Training on a taste",
        f"""
{machine()} {__doc__}

| way | seed | taste against hidden, rank correlation on other pictures | processor seconds | liked better than before \
(95%) | change in the base's spread | diversity of the base's |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}
""",
    )


def main() -> None:
    """Run one seed, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=tuple(WAYS), default="reward_gradient")
    parser.add_argument("--out", type=Path, default=Path("/tmp/tastemaker-taste-training"))
    given = parser.parse_args()
    if given.what == "report":
        report(given.out)
    else:
        run(given.seed, given.way, given.out)


if __name__ == "__main__":
    main()

"""Train, save and measure the embedded models.

    python -m scripts.embedded sdxl      # assets/tiny-sdxl
    python -m scripts.embedded ddpm      # assets/tiny-ddpm
    python -m scripts.embedded reward    # assets/tiny-imagereward
    python -m scripts.embedded emoji-vae    # scripts/embedded/emoji/trained/vae
    python -m scripts.embedded emoji-reward # scripts/embedded/emoji/trained/reward
    python -m scripts.embedded emoji        # scripts/embedded/emoji/trained/tiny-emoji, around the VAE above
    python -m scripts.embedded aesthetic # assets/tiny-aesthetic, with tiny-ddpm's samples: minutes on one core
    python -m scripts.embedded measure   # assets/MODEL_CARD.md, from what is in assets/
    python -m scripts.embedded measure --only tiny-ddpm

Each model takes under an hour on two cores; `--device cuda` is faster. The same seed, device,
thread count and library versions give the same weights.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from tastemaker.core.assets import asset_folder

from . import aesthetic, assemble, ddpm, measure, reward, sdxl, vae
from .training import Pictures, draw_pictures, draw_world
from .worlds import EMOJI, SHAPES, World

PICTURES, EMOJI_PICTURES = 12_000, 9_000
EMOJI_TRAINED = Path(__file__).parent / "emoji" / "trained"  # not among the assets before all of it is good enough
PICTURE_SEED, VAE_SEED, SDXL_SEED, DDPM_SEED, REWARD_SEED, AESTHETIC_SEED = 1, 1, 2, 3, 4, 5


def make_sdxl(device: str) -> None:
    pictures = draw_pictures(PICTURES, PICTURE_SEED)
    autoencoder = vae.train(pictures, vae.SHAPES_PLAN, seed=VAE_SEED, device=device)
    _make_sdxl(asset_folder("tiny-sdxl"), SHAPES, pictures, autoencoder, sdxl.SHAPES_PLAN, device)


def make_emoji_vae(device: str) -> None:
    pictures = draw_world(EMOJI, EMOJI_PICTURES, PICTURE_SEED)
    assemble.write_vae(EMOJI_TRAINED / "vae", vae.train(pictures, vae.EMOJI_PLAN, seed=VAE_SEED, device=device))


def make_emoji(device: str) -> None:
    from diffusers import AutoencoderKL

    pictures = draw_world(EMOJI, EMOJI_PICTURES, PICTURE_SEED)
    autoencoder = AutoencoderKL.from_pretrained(EMOJI_TRAINED / "vae", variant=assemble.VARIANT).float().to(device)
    _make_sdxl(EMOJI_TRAINED / sdxl.EMOJI_PLAN.name, EMOJI, pictures, autoencoder, sdxl.EMOJI_PLAN, device)


def _make_sdxl(folder: Path, world: World, pictures: Pictures, autoencoder, plan: sdxl.Plan, device: str) -> None:
    words = world.vocabulary()
    with TemporaryDirectory() as scratch:
        tokenizers = sdxl.tokenizers(Path(scratch), words)
    lessons = sdxl.prepare(pictures, autoencoder, tokenizers, world.caption, seed=SDXL_SEED, device=device)
    trained = sdxl.train(lessons, plan, words, seed=SDXL_SEED, device=device)
    if not dist.is_initialized() or dist.get_rank() == 0:
        assemble.write_sdxl(folder, trained, autoencoder, words)


def make_ddpm(device: str) -> None:
    pictures = ddpm.draw_centred(PICTURE_SEED)
    assemble.write_ddpm(ddpm.train(pictures, seed=DDPM_SEED, device=device), ddpm.scheduler())


def make_reward(folder: Path, plan: reward.Plan, device: str) -> None:
    assemble.write_reward(folder, reward.train(folder, plan, seed=REWARD_SEED, device=device), plan)


def make_aesthetic(device: str) -> None:
    drawn = aesthetic.lessons(aesthetic.PICTURES, AESTHETIC_SEED)
    taught = aesthetic.together(drawn, aesthetic.sampled(aesthetic.SAMPLES, AESTHETIC_SEED))
    assemble.write_aesthetic(aesthetic.train(taught, seed=AESTHETIC_SEED, device=device))


MAKERS: dict[str, Callable[[str], None]] = {
    "sdxl": make_sdxl,
    "ddpm": make_ddpm,
    "reward": partial(make_reward, asset_folder("tiny-imagereward"), reward.SHAPES_PLAN),
    "aesthetic": make_aesthetic,
    "emoji-vae": make_emoji_vae,
    "emoji-reward": partial(make_reward, EMOJI_TRAINED / "reward", reward.EMOJI_PLAN),
    "emoji": make_emoji,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=(*MAKERS, "measure"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's own choice")
    parser.add_argument("--only", choices=tuple(measure.MEASURES), help="measure one part")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    if "RANK" in os.environ:  # torchrun's
        if options.what != "emoji":
            parser.error("only emoji is trained by several processes: run this one without torchrun.")
        dist.init_process_group("gloo")
        torch.set_num_threads(1)
    if options.what == "measure":
        measure.write_card([options.only] if options.only else tuple(measure.MEASURES))
    else:
        MAKERS[options.what](options.device)


if __name__ == "__main__":
    main()

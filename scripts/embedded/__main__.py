"""Train, save and measure the embedded models.

    python -m scripts.embedded sdxl      # assets/tiny-sdxl
    python -m scripts.embedded ddpm      # assets/tiny-ddpm
    python -m scripts.embedded reward    # assets/tiny-imagereward
    python -m scripts.embedded aesthetic # assets/tiny-aesthetic, with tiny-ddpm's samples: minutes on one core
    python -m scripts.embedded measure   # assets/MODEL_CARD.md, from what is in assets/
    python -m scripts.embedded measure --only tiny-ddpm

Each model takes under an hour on two cores; `--device cuda` is faster. The same seed, device,
thread count and library versions give the same weights.
"""

from __future__ import annotations

import argparse
import logging

import torch

from tastemaker.core.assets import asset_folder

from . import aesthetic, assemble, ddpm, measure, reward, sdxl, vae
from .tokenizers import write_bert_vocabulary
from .training import draw_pictures

PICTURES = 12_000
PICTURE_SEED, VAE_SEED, SDXL_SEED, DDPM_SEED, REWARD_SEED, AESTHETIC_SEED = 1, 1, 2, 3, 4, 5


def make_sdxl(device: str) -> None:
    pictures = draw_pictures(PICTURES, PICTURE_SEED)
    autoencoder = vae.train(pictures, seed=VAE_SEED, device=device)
    tokenizers = sdxl.tokenizers(asset_folder("tiny-sdxl"))
    lessons = sdxl.prepare(pictures, autoencoder, tokenizers, seed=SDXL_SEED, device=device)
    trained = sdxl.train(lessons, seed=SDXL_SEED, device=device)
    assemble.write_sdxl(trained, autoencoder, sdxl.tokenizers)


def make_ddpm(device: str) -> None:
    pictures = ddpm.draw_centred(PICTURE_SEED)
    assemble.write_ddpm(ddpm.train(pictures, seed=DDPM_SEED, device=device), ddpm.scheduler())


def make_reward(device: str) -> None:
    folder = asset_folder("tiny-imagereward")
    network = reward.train(folder, seed=REWARD_SEED, device=device)
    med = reward.med_config(write_bert_vocabulary(folder))
    assemble.write_reward(network, write_bert_vocabulary, reward.VIT, med)


def make_aesthetic(device: str) -> None:
    drawn = aesthetic.lessons(aesthetic.PICTURES, AESTHETIC_SEED)
    taught = aesthetic.together(drawn, aesthetic.sampled(aesthetic.SAMPLES, AESTHETIC_SEED))
    assemble.write_aesthetic(aesthetic.train(taught, seed=AESTHETIC_SEED, device=device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("sdxl", "ddpm", "reward", "aesthetic", "measure"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's own choice")
    parser.add_argument("--only", choices=tuple(measure.MEASURES), help="measure one part")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    makers = {"sdxl": make_sdxl, "ddpm": make_ddpm, "reward": make_reward, "aesthetic": make_aesthetic}
    if options.what == "measure":
        measure.write_card([options.only] if options.only else tuple(measure.MEASURES))
    else:
        makers[options.what](options.device)


if __name__ == "__main__":
    main()

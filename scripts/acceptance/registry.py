"""The checks there are. A new one is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from . import diffusion, fid, loras, rewards
from .check import Check
from .found import diffusers_folders, named
from .pipelines import PIPELINES


def _reward_file(which: str, models: Path) -> list[Path]:
    """Return the file or folder in models/rewards that a reward's first file is called."""
    from tastemaker.rewards import REWARDS

    found = named(models / "rewards", REWARDS[which].files[0].names)
    return [found] if found else []


def _of_class(name: str, models: Path) -> list[Path]:
    return diffusers_folders(models, name)


def _reward(which: str) -> Callable[[Path], Sequence[Path]]:
    return partial(_reward_file, which)  # and no closure: checks travel to another process


def _folders(kind: str) -> Callable[[Path], Sequence[Path]]:
    return partial(_of_class, PIPELINES[kind])


CHECKS: tuple[Check, ...] = (
    Check(
        "ImageReward, ocean",
        "four pictures with the rewards and the ranking that its authors published",
        *(_reward("imagereward-v1.0"), "models/rewards/ImageReward.pt", rewards.ocean),
    ),
    Check(
        "LAION aesthetic head",
        "four fixed vectors with what the published head says to them",
        *(_reward("aesthetic-v2"), "models/rewards/sac+logos+ava1-l14-linearMSE.pth", rewards.head),
    ),
    Check(
        "CLIP score",
        "transformers' CLIPModel on the same weights",
        *(_reward("clip-score"), "models/rewards/clip-vit-large-patch14", rewards.clip_score),
    ),
    Check(
        "PickScore",
        "transformers' CLIPModel on the same weights",
        *(_reward("pickscore-v1"), "models/rewards/PickScore_v1", rewards.pickscore),
    ),
    Check(
        "HPS v2.1",
        "open_clip's ViT-H-14 on the same weights",
        *(_reward("hps-v2.1"), "models/rewards/HPS_v2.1_compressed.pt", rewards.hps),
    ),
    Check(
        "BLIP score",
        "transformers' BlipForImageTextRetrieval on the same weights",
        *(_reward("blip-score"), "models/rewards/model_large.pth", rewards.blip),
    ),
    Check(
        "FID",
        "torch-fidelity on the same weights and pictures",
        *(fid.inception_files, "models/rewards/weights-inception-2015-12-05-6726825d.pth", fid.distance),
    ),
    Check(
        "SDXL folder",
        "diffusers' from_pretrained, same seed and noise",
        *(_folders("sdxl"), "models/diffusers: Playground v2, SDXL base or their kin", diffusion.folder),
    ),
    Check(
        "SDXL refiner folder",
        "diffusers' from_pretrained, same latents and noise",
        *(_folders("refiner"), "models/diffusers/stable-diffusion-xl-refiner-1.0", diffusion.refiner_folder),
    ),
    Check(
        "DDPM folder",
        "diffusers' from_pretrained, same seed and noise",
        *(_folders("ddpm"), "models/diffusers/ddpm-church-256", diffusion.ddpm_folder),
    ),
    Check(
        "SDXL single file",
        "diffusers' from_single_file, same seed and noise",
        *(diffusion.single_files, "models/checkpoints: a .safetensors of SDXL's architecture", diffusion.single_file),
    ),
    Check(
        "LoRA",
        "diffusers' load_lora_weights, same seed and noise",
        *(loras.one_of_each_kind, "models/loras: a .safetensors for SDXL, one of each kind is taken", loras.lora),
    ),
)

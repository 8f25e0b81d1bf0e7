"""Trained networks to the folders under `assets/`, float16 safetensors in the official layouts."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tastemaker.core.assets import asset_folder

from . import reward, sdxl
from .tokenizers import write_bert_vocabulary

VARIANT = "fp16"  # Playground v2's file names: diffusion_pytorch_model.fp16.safetensors


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _save(module, folder: Path, variant: str | None) -> None:
    module.half().save_pretrained(folder, variant=variant)
    _drop_versions(folder / "config.json")
    _drop_defaults(folder / "config.json", type(module))


def _drop_versions(path: Path) -> None:
    """Configs as any library version would write them: no version, no path of the machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("_diffusers_version", "transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        config.pop(key, None)
    _write_json(path, config)


def _drop_defaults(path: Path, cls: type) -> None:
    """Leave out what equals a class's own default: older diffusers do not know all of today's keys."""
    config = json.loads(path.read_text(encoding="utf-8"))
    defaults = {name: p.default for name, p in inspect.signature(cls.__init__).parameters.items()}
    missing = object()
    kept = {k: v for k, v in config.items() if _plain(defaults.get(k, missing)) != v}
    _write_json(path, kept)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def write_vae(folder: Path, vae) -> None:
    """Write an AutoencoderKL folder."""
    _save(vae, _fresh(folder), VARIANT)


def write_sdxl(folder: Path, trained, vae, words: Sequence[str]) -> None:
    """Write a StableDiffusionXLPipeline folder."""
    _fresh(folder)
    sdxl.tokenizers(folder, words)
    _save(trained.unet, folder / "unet", VARIANT)
    _save(trained.text_encoder, folder / "text_encoder", VARIANT)
    _save(trained.text_encoder_2, folder / "text_encoder_2", VARIANT)
    _save(vae, folder / "vae", VARIANT)
    _write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "EulerAncestralDiscreteScheduler",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "clip_sample": False,
            "interpolation_type": "linear",
            "num_train_timesteps": 1000,
            "prediction_type": "epsilon",
            "sample_max_value": 1.0,
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
            "steps_offset": 1,
            "timestep_spacing": "leading",
            "trained_betas": None,
            "use_karras_sigmas": False,
        },
    )
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionXLPipeline",
            "force_zeros_for_empty_prompt": True,
            "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


def write_ddpm(unet, scheduler) -> None:
    """`assets/tiny-ddpm`: a DDPMPipeline folder, as google/ddpm-church-256 has it."""
    folder = _fresh(asset_folder("tiny-ddpm"))
    _save(unet, folder / "unet", None)
    scheduler.save_pretrained(folder / "scheduler")
    _drop_versions(folder / "scheduler" / "scheduler_config.json")
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        },
    )


def write_reward(folder: Path, network, plan: reward.Plan) -> None:
    """Write official key names, `med_config.json`, the ViT's sizes, the words."""
    from safetensors.torch import save_file

    from tastemaker.rewards.models._blip_models import to_official

    _fresh(folder)
    words = write_bert_vocabulary(folder, plan.world.vocabulary())
    _write_json(folder / "config.json", {"vit": plan.vit})
    _write_json(folder / "med_config.json", reward.med_config(words))
    state = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    save_file(to_official(state), folder / "ImageReward.safetensors", metadata={"format": "pt"})


def write_aesthetic(network) -> None:
    """`assets/tiny-aesthetic`: the weights alone; their sizes stand in `rewards/models/tiny_aesthetic.py`."""
    from safetensors.torch import save_file

    folder = _fresh(asset_folder("tiny-aesthetic"))
    state = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

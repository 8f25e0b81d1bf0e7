"""Diffusers model folders to `DiffusionModel`s: SDXL-architecture pipelines and DDPMs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelFileError
from .fingerprint import fingerprint
from .folder_files import model_files, part_folder
from .folder_rules import check_folder, component_config, scheduler_config, text_encoder_config
from .model import DiffusionModel
from .tokenizer import clip_tokenizer
from .weights import fill, modern_names, read_component

if TYPE_CHECKING:
    import torch
    from torch import nn

_READ = (".json", ".safetensors", ".txt", ".bin")


def load_folder(folder: Path, *, name: str, dtype: torch.dtype, device: torch.device) -> DiffusionModel:
    """Load a diffusers folder. Strict: every key of every component must fit.

    Raises ModelFileError with the name of what is wrong.
    """
    architecture, index = check_folder(folder)
    load = _sdxl_modules if architecture == "sdxl" else _ddpm_modules
    modules, tokenizers = load(folder, dtype)
    for module in modules.values():
        module.requires_grad_(False).eval().to(device=device)
    files = [p for p in model_files(folder) if p.suffix in _READ]
    return DiffusionModel(
        name=name,
        architecture=architecture,
        modules=modules,
        tokenizers=tokenizers,
        scheduler_config=scheduler_config(folder),
        fingerprint=fingerprint(folder, files),
        zero_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", architecture == "sdxl")),
    )


def _sdxl_modules(folder: Path, dtype: torch.dtype) -> tuple[dict[str, nn.Module], tuple[Any, ...]]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    modules = {
        "unet": _diffusers_module(folder, "unet", UNet2DConditionModel, dtype),
        "vae": _diffusers_module(folder, "vae", AutoencoderKL, dtype),
        "text_encoder": _text_encoder(folder, "text_encoder", CLIPTextModel, dtype),
        "text_encoder_2": _text_encoder(folder, "text_encoder_2", CLIPTextModelWithProjection, dtype),
    }
    if modules["unet"].config.addition_embed_type != "text_time":
        raise ModelFileError(f"{folder.name}'s UNet has no SDXL size conditioning (addition_embed_type).")
    rows = [modules[n].config.vocab_size for n in ("text_encoder", "text_encoder_2")]
    folders = [folder / n for n in ("tokenizer", "tokenizer_2")]
    return modules, tuple(clip_tokenizer(f, n) for f, n in zip(folders, rows, strict=True))


def _ddpm_modules(folder: Path, dtype: torch.dtype) -> tuple[dict[str, nn.Module], tuple[Any, ...]]:
    from diffusers import UNet2DModel

    return {"unet": _diffusers_module(folder, "unet", UNet2DModel, dtype)}, ()


def _diffusers_module(folder: Path, component: str, cls: type, dtype: torch.dtype) -> nn.Module:
    import torch

    config = component_config(folder, component, cls)
    with torch.device("meta"):
        module = _build(lambda: cls(**config), folder, component)
    return _filled(module, folder, component, "diffusion_pytorch_model", dtype)


def _text_encoder(folder: Path, component: str, cls: type, dtype: torch.dtype) -> nn.Module:
    import torch
    from transformers import CLIPTextConfig

    config = text_encoder_config(folder, component)
    with torch.device("meta"):
        module = _build(lambda: cls(CLIPTextConfig(**config)), folder, component)
    return _filled(module, folder, component, "model", dtype)


def _build(make: Any, folder: Path, component: str) -> nn.Module:
    try:
        return make()
    except Exception as e:  # a wrong value can fail anywhere in a library's constructor
        raise ModelFileError(f"{folder.name}/{component}/config.json does not describe a model: {e}.") from e


def _filled(module: nn.Module, folder: Path, component: str, stem: str, dtype: torch.dtype) -> nn.Module:
    import torch
    from diffusers import UNet2DModel

    state = read_component(
        part_folder(folder, component),
        stem,
        prefer_half=dtype != torch.float32,
        dtype=dtype,
        pickles=isinstance(module, UNet2DModel),
    )
    fill(module, _same_prefix(modern_names(state), module), where=f"{folder.name}/{component}")
    return module


def _same_prefix(state: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Add or drop `text_model.`: transformers 5 writes CLIPTextModel without it, 4 with it."""
    prefix, wanted = "text_model.", module.state_dict()
    if all(k.startswith(prefix) for k in state) and not any(k.startswith(prefix) for k in wanted):
        return {k.removeprefix(prefix): v for k, v in state.items()}
    if all(k.startswith(prefix) for k in wanted) and not any(k.startswith(prefix) for k in state):
        return {prefix + k: v for k, v in state.items()}
    return state

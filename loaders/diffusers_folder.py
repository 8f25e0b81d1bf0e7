"""Diffusers model folders to `DiffusionModel`s: SDXL-architecture pipelines and DDPMs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelFileError
from .fingerprint import fingerprint
from .folder_rules import check_folder, component_config, scheduler_config
from .model import DiffusionModel
from .weights import fill, read_component, read_json

if TYPE_CHECKING:
    import torch
    from torch import nn

_READ = (".json", ".safetensors", ".txt")


def load_folder(folder: Path, *, name: str, dtype: torch.dtype, device: torch.device) -> DiffusionModel:
    """Load a diffusers folder. Strict: every key of every component must fit.

    Raises ModelFileError with the name of what is wrong.
    """
    architecture, index = check_folder(folder)
    load = _sdxl_modules if architecture == "sdxl" else _ddpm_modules
    modules, tokenizers = load(folder, dtype)
    for module in modules.values():
        module.requires_grad_(False).eval().to(device=device)
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix in _READ]
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
    return modules, tuple(_tokenizer(folder, n) for n in ("tokenizer", "tokenizer_2"))


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

    config = read_json(folder / component / "config.json")
    if config.get("model_type") not in (None, "clip_text_model") or "auto_map" in config:
        raise ModelFileError(f"{folder.name}/{component} is a {config.get('model_type')!r}, not a CLIP text encoder.")
    skipped = ("architectures", "torch_dtype", "dtype", "transformers_version", "model_type")
    config = {k: v for k, v in config.items() if k not in skipped and not k.startswith("_")}
    with torch.device("meta"):
        module = _build(lambda: cls(CLIPTextConfig(**config)), folder, component)
    return _filled(module, folder, component, "model", dtype)


def _build(make: Any, folder: Path, component: str) -> nn.Module:
    try:
        return make()
    except (TypeError, ValueError, KeyError, ZeroDivisionError, NotImplementedError) as e:
        raise ModelFileError(f"{folder.name}/{component}/config.json does not describe a model: {e}.") from e


def _filled(module: nn.Module, folder: Path, component: str, stem: str, dtype: torch.dtype) -> nn.Module:
    import torch

    state = read_component(folder / component, stem, prefer_half=dtype != torch.float32)
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    fill(module, _same_prefix(state, module), where=f"{folder.name}/{component}")
    return module


def _same_prefix(state: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Add or drop `text_model.`: transformers 5 writes CLIPTextModel without it, 4 with it."""
    prefix, wanted = "text_model.", module.state_dict()
    if all(k.startswith(prefix) for k in state) and not any(k.startswith(prefix) for k in wanted):
        return {k.removeprefix(prefix): v for k, v in state.items()}
    if all(k.startswith(prefix) for k in wanted) and not any(k.startswith(prefix) for k in state):
        return {prefix + k: v for k, v in state.items()}
    return state


def _tokenizer(folder: Path, component: str) -> Any:
    from transformers import CLIPTokenizer

    config = read_json(folder / component / "tokenizer_config.json")
    if "auto_map" in config:
        raise ModelFileError(f"{folder.name}/{component} asks to run code (auto_map); it is refused.")
    return CLIPTokenizer.from_pretrained(str(folder / component), local_files_only=True)

"""Diffusers model folders to `DiffusionModel`s: SDXL-architecture pipelines and DDPMs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import ModelFileError
from ..architecture import ARCHITECTURES, ArchitectureSpec
from ..formats.component import modern_names, read_component
from ..formats.fingerprint import fingerprint, varied
from ..formats.precision import vae_dtype
from ..formats.weights import fill
from ..model import DiffusionModel
from ..native_size import apply_native_size, known_size
from .files import model_files, part_folder
from .rules import check_folder, component_config, scheduler_config, text_encoder_config
from .schedulers import AUTO, with_prediction
from .tokenizer import clip_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn

_READ = (".json", ".safetensors", ".txt", ".bin")


def load_folder(
    folder: Path,
    *,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    runs_on: torch.device,
    prediction: str = AUTO,
) -> DiffusionModel:
    """Load a diffusers folder onto `device`, to compute on `runs_on`. Strict: every key of every component must fit.

    `prediction` is one of `schedulers.PREDICTION_CHOICES`; auto is what the scheduler's config says.
    Raises ModelFileError with the name of what is wrong, InputError for an unknown `prediction`.
    """
    architecture, index = check_folder(folder)
    config = with_prediction(scheduler_config(folder), prediction)
    spec = ARCHITECTURES[architecture]
    modules = _ddpm_modules(folder, dtype) if spec.latent_scale is None else _sdxl_modules(folder, spec, dtype, runs_on)
    for module in modules.values():
        module.requires_grad_(False).eval().to(device=device)
    size = known_size(name, architecture)
    resized = size is not None and apply_native_size(modules, size)
    print_ = fingerprint(folder, [p for p in model_files(folder) if p.suffix in _READ])
    if prediction != AUTO or resized:
        print_ = varied(print_, prediction, size)
    return DiffusionModel(
        name=name,
        architecture=architecture,
        modules=modules,
        tokenizers=_tokenizers(folder, spec, modules),
        scheduler_config=config,
        fingerprint=print_,
        zero_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", spec.zero_empty_prompt)),
    )


def _sdxl_modules(
    folder: Path, spec: ArchitectureSpec, dtype: torch.dtype, runs_on: torch.device
) -> dict[str, nn.Module]:
    """Return the modules of SDXL or of its refiner, which has no first text encoder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    vae_config = component_config(folder, "vae", AutoencoderKL)
    _check_latents(folder.name, vae_config)
    _check_channels(folder.name, "vae", vae_config, 3)
    for_vae = vae_dtype(dtype, vae_config, runs_on)
    modules = {
        "unet": _diffusers_module(folder, "unet", UNet2DConditionModel, dtype),
        "vae": _diffusers_module(folder, "vae", AutoencoderKL, for_vae),
    }
    if "text_encoder" in spec.text_encoders:
        modules["text_encoder"] = _text_encoder(folder, "text_encoder", CLIPTextModel, dtype)
    modules["text_encoder_2"] = _text_encoder(folder, "text_encoder_2", CLIPTextModelWithProjection, dtype)
    _check_conditioning(folder.name, spec, {name: module.config for name, module in modules.items()})
    return modules


def _check_latents(name: str, config: Mapping[str, Any]) -> None:
    """Raise ModelFileError for a VAE whose latents are made ready by more than one factor: SDXL's has no more."""
    extra = [key for key in ("latents_mean", "latents_std", "shift_factor") if config.get(key) not in (None, 0)]
    if extra:
        raise ModelFileError(
            f"{name}/vae/config.json has {' and '.join(extra)} ({extra[0]}: {str(config[extra[0]])[:80]}): its latents "
            "are scaled in another way than SDXL's, as those of Playground v2.5 are, which is not supported. Pick "
            "Playground v2, SDXL or a model made from them."
        )


def _check_conditioning(name: str, spec: ArchitectureSpec, configs: dict[str, Any]) -> None:
    """Raise ModelFileError unless the UNet reads what this architecture's other parts give it."""
    unet, pooled = configs["unet"], configs["text_encoder_2"].projection_dim
    if unet.addition_embed_type != "text_time":
        raise ModelFileError(f"{name}'s UNet has no SDXL size conditioning (addition_embed_type).")
    if unet.in_channels != configs["vae"].latent_channels:
        kind = {9: "an inpainting model", 8: "an InstructPix2Pix model"}.get(unet.in_channels, "another kind of model")
        raise ModelFileError(f"{name} is {kind}: its UNet reads {unet.in_channels} channels.")
    if unet.out_channels != unet.in_channels:
        raise ModelFileError(f"{name}'s UNet reads {unet.in_channels} channels and makes {unet.out_channels}.")
    wanted = pooled + spec.size_numbers * (unet.addition_time_embed_dim or 0)
    if unet.projection_class_embeddings_input_dim != wanted:
        raise ModelFileError(
            f"{name}'s UNet reads {unet.projection_class_embeddings_input_dim} added numbers; with its text encoders "
            f"it is {'an SDXL refiner' if spec.refines else 'an SDXL base'}, which reads {wanted}."
        )


def _tokenizers(folder: Path, spec: ArchitectureSpec, modules: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a tokenizer for each text encoder there is."""
    pairs = spec.text_encoders.items()
    made = {t: clip_tokenizer(folder / t, modules[e].config.vocab_size) for e, t in pairs}
    lengths = {t: min(made[t].model_max_length, modules[e].config.max_position_embeddings) for e, t in pairs}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{length} ({name})" for name, length in lengths.items())
        raise ModelFileError(
            f"{folder.name} cuts texts at different lengths, {said} tokens: its two encoders' features do not fit side "
            "by side. Correct model_max_length in the tokenizer_config.json, or download the model again."
        )
    return tuple(made.values())


def _ddpm_modules(folder: Path, dtype: torch.dtype) -> dict[str, nn.Module]:
    from diffusers import UNet2DModel

    _check_channels(folder.name, "unet", component_config(folder, "unet", UNet2DModel), 3)
    return {"unet": _diffusers_module(folder, "unet", UNet2DModel, dtype)}


def _check_channels(name: str, component: str, config: Mapping[str, Any], wanted: int) -> None:
    """Raise ModelFileError unless a part reads and makes so many channels; the libraries' own default is 3."""
    found = config.get("in_channels", 3), config.get("out_channels", 3)
    if found != (wanted, wanted):
        raise ModelFileError(
            f"{name}/{component}/config.json has {found[0]} channels in and {found[1]} out; only models of coloured "
            f"pictures, with {wanted} and {wanted}, can be used here."
        )


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
        reason = " ".join(str(e).split())[:200]
        raise ModelFileError(f"{folder.name}/{component}/config.json does not describe a model: {reason}.") from e


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

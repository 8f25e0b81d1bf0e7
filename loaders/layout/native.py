"""What ComfyUI's own SDXL has built in, compared with a model, and a model's weights under the names it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ...core.errors import InputError
from .configs import UNET as PREFIX
from .original import unet_sources

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..model import DiffusionModel

# What ComfyUI has built in for every SDXL model. No tensor's shape tells these, so they are compared.
_BLOCKS = (320, 640, 1280)
_UNET = {
    "attention_head_dim": (5, 10, 20),
    "num_attention_heads": None,
    "addition_time_embed_dim": 256,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "resnet_time_scale_shift": "default",
}
_SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "trained_betas": None}
_VAE = {"scaling_factor": 0.13025, "shift_factor": None, "latents_mean": None, "latents_std": None}


def check_native(model: DiffusionModel) -> None:
    """Raise InputError when ComfyUI has no native form of a model, or one that would compute something else."""

    def refuse(why: str) -> NoReturn:
        raise InputError("model", model.name, f"{why} It can be used with the Tastemaker nodes only.")

    if model.architecture != "sdxl" or model.vae is None:
        refuse(f"Only SDXL models have a native form here, and this is of the kind {model.architecture!r}.")
    blocks = _plain(model.unet.config.block_out_channels)
    if blocks != _BLOCKS:
        shown = ", ".join(map(str, blocks))
        refuse(f"ComfyUI knows SDXL by its full size (320, 640 and 1280 channels), and this model has {shown}.")
    steps = {"num_train_timesteps": 1000}
    for config, built_in in (
        (model.unet.config, _UNET),
        (steps | dict(model.scheduler_config), _SCHEDULE | steps),
        (model.vae.config, _VAE),
    ):
        for key, value in built_in.items():
            found = _plain(config.get(key))
            if found != value:
                refuse(f"ComfyUI's SDXL has {key} {value}, and this model has {found!r}.")
    if prediction(model) not in ("epsilon", "v_prediction"):
        refuse(f"ComfyUI's SDXL predicts epsilon or v, and this model predicts {prediction(model)!r}.")
    if zero_snr(model) and prediction(model) == "epsilon":
        refuse("ComfyUI's SDXL has rescale_betas_zero_snr for v prediction only.")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def prediction(model: DiffusionModel) -> str:
    """Return what a model's network predicts: epsilon, v_prediction or sample."""
    return str(model.scheduler_config.get("prediction_type", "epsilon"))


def zero_snr(model: DiffusionModel) -> bool:
    """Return whether a model was trained up to pure noise (zero terminal SNR)."""
    return bool(model.scheduler_config.get("rescale_betas_zero_snr", False))


def unet_state(unet: nn.Module) -> dict[str, torch.Tensor]:
    """Return a diffusers UNet's weights under SDXL's original names, not copied. Raises InputError for strange ones."""
    state = unet.state_dict()
    try:
        sources = unet_sources(state)
    except KeyError as e:
        raise InputError(
            "model", e.args[0], "Its UNet has parts that SDXL does not have, so it has no native form."
        ) from e
    return {sources[key].name.removeprefix(PREFIX): tensor for key, tensor in state.items()}


def text_state(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """Return a text encoder's weights, not copied, all with the `text_model.` that transformers 5 drops from some."""
    kept = {k: v for k, v in encoder.state_dict().items() if not k.endswith("position_ids")}
    return {k if k.startswith(("text_model.", "text_projection.")) else f"text_model.{k}": v for k, v in kept.items()}

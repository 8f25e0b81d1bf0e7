"""ComfyUI's own MODEL, CLIP and VAE, made from our weights.

Importing this module imports nothing of the host; its functions do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ...core.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


class NativeStates(NamedTuple):
    """An SDXL model's state dicts by the names of its original files, encoders' with `text_model.`"""

    unet: Mapping[str, torch.Tensor]
    text: Mapping[str, torch.Tensor]
    text_2: Mapping[str, torch.Tensor]
    vae: Mapping[str, torch.Tensor]


class Native(NamedTuple):
    """What travels on the host's MODEL, CLIP and VAE wires."""

    model: Any
    clip: Any
    vae: Any


# The host copies the weights it is given, so who shares modules shares the copy, while it is on any
# wire: a clone of a MODEL keeps the one it was cloned from. Keys are weak references to the modules.
_natives: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()
_beside: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()


def native_model(
    owner: Sequence[nn.Module], prediction: str, zero_snr: bool, states: Callable[[], NativeStates]
) -> Native:
    """Return the host's models of an SDXL model's modules (UNet, text encoders, VAE, in this order).

    Raises InputError when the host does not know them, or would leave a weight out.
    """
    key = (*(ref(module) for module in owner), prediction, zero_snr)
    base = _natives.get(key)
    if base is None:
        parts = states()
        base = _native_unet(parts.unet, prediction, zero_snr)
        _beside[base] = (_native_clip(parts.text, parts.text_2), native_vae(parts.vae))
        _natives[key] = base
    clip, vae = _beside[base]
    return Native(base.clone(), clip.clone(), vae)


def _native_unet(state: Mapping[str, torch.Tensor], prediction: str, zero_snr: bool) -> Any:
    import comfy.model_detection
    import comfy.sd
    import comfy.supported_models
    import torch
    from comfy.model_sampling import V_PREDICTION

    config = comfy.model_detection.model_config_from_unet(dict(state), "")
    if not isinstance(config, comfy.supported_models.SDXL):
        raise InputError("model", type(config).__name__, "ComfyUI does not know this UNet as SDXL, whatever its sizes.")
    # empty tensors of these names are how checkpoints say so
    marks = {"v_pred": prediction == "v_prediction", "ztsnr": zero_snr}
    marked = {name: torch.empty(0) for name, there in marks.items() if there}
    patcher = comfy.sd.load_diffusion_model_state_dict({**state, **marked})
    _check_whole("UNet", state, patcher.model.diffusion_model.state_dict())
    if isinstance(patcher.model.model_sampling, V_PREDICTION) != marks["v_pred"]:
        raise InputError("model", prediction, "This version of ComfyUI does not take the model's prediction type.")
    return patcher


def _native_clip(text: Mapping[str, torch.Tensor], text_2: Mapping[str, torch.Tensor]) -> Any:
    import comfy.sd

    kind = comfy.sd.CLIPType.STABLE_DIFFUSION
    clip = comfy.sd.load_text_encoder_state_dicts([dict(text), dict(text_2)], clip_type=kind)
    encoders = clip.cond_stage_model
    loaded = {k: v for k, v in encoders.clip_l.transformer.state_dict().items() if k != "text_projection.weight"}
    _check_whole("text encoder", text, loaded)
    _check_whole("text encoder 2", text_2, encoders.clip_g.transformer.state_dict())
    return clip


def native_vae(state: Mapping[str, torch.Tensor]) -> Any:
    import comfy.sd
    from comfy.diffusers_convert import convert_vae_state_dict

    converted = convert_vae_state_dict(dict(state))
    vae = comfy.sd.VAE(sd=dict(converted))
    _check_whole("VAE", converted, vae.first_stage_model.state_dict())
    return vae


def _check_whole(what: str, given: Mapping[str, torch.Tensor], loaded: Mapping[str, torch.Tensor]) -> None:
    """Raise InputError where the host did not take all weights as they are: it only logs what it leaves out."""
    odd = sorted(set(given) ^ set(loaded)) or sorted(k for k in given if given[k].shape != loaded[k].shape)
    if odd:
        shown = ", ".join(odd[:5])
        raise InputError("model", shown, f"ComfyUI's own {what} has other weights than this model's, so it is refused.")


def native_lora(
    native: Native, state: dict[str, torch.Tensor], strength: float, strength_text: float, *, count: int
) -> Native:
    """Return the same models with a kohya LoRA as the host's patches: no weight is copied or changed.

    `count` is how many weights and biases it changes. Raises InputError when the host takes fewer.
    """
    import comfy.lora

    model, clip = native.model.clone(), native.clip.clone()
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    names = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, names)
    patches = comfy.lora.load_lora(state, names)
    taken = {*model.add_patches(patches, strength), *clip.add_patches(patches, strength_text)}
    if len(taken) != count:
        raise InputError("model", f"{len(taken)} of {count}", "ComfyUI does not take all layers of the model's LoRA.")
    return Native(model, clip, native.vae)

"""To Native: a model to ComfyUI's own MODEL, CLIP and VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..loaders.layout.native import check_native, prediction, text_state, unet_state, zero_snr
from ..loaders.lora.keys import TEXT, TEXT_2
from ..loaders.lora.state import host_layers, lora_state
from . import host
from .checked import checked
from .host.native import Native, NativeStates, native_lora, native_model
from .listing import schema
from .wires import CATEGORY, TasteModel

if TYPE_CHECKING:
    from ..loaders import DiffusionModel


def to_native(model: DiffusionModel) -> Native:
    """Return MODEL, CLIP and VAE of a full-size SDXL model, its LoRAs as ComfyUI's own patches.

    Models that share their weights share the native copy of them too. Raises InputError.
    """
    check_native(model)
    owner = tuple(model.modules[c] for c in ("unet", TEXT, TEXT_2, "vae"))

    def states() -> NativeStates:
        unet, text, text_2, vae = owner
        return NativeStates(unet_state(unet), text_state(text), text_state(text_2), vae.state_dict())

    native = native_model(owner, prediction(model), zero_snr(model), states)
    for index, applied in enumerate(model.loras):
        layers = host_layers(model, index)
        count = sum(bool(layer.shape) + (layer.bias is not None) for layer in layers.values())
        native = native_lora(native, lora_state(layers), applied.strength, applied.strength_text, count=count)
    return native


class TastemakerToNative(io.ComfyNode):
    """Hand a model to ComfyUI's own nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerToNative",
            display_name="To Native",
            category=CATEGORY,
            description="Makes ComfyUI's own MODEL, CLIP and VAE of a full-size SDXL model, with its LoRAs, for "
            "KSampler, ControlNet, upscalers and every other node.",
            inputs=[
                TasteModel.Input("model", tooltip="A full-size SDXL model, from Load Taste Model or Load Taste LoRA.")
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Clip.Output(display_name="clip"),
                io.Vae.Output(display_name="vae"),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: DiffusionModel) -> io.NodeOutput:
        with host.loading():
            return io.NodeOutput(*to_native(model))

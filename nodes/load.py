"""Load Model and Load Reward."""

from __future__ import annotations

from weakref import WeakValueDictionary

from comfy_api.latest import io

from ..loaders import EMBEDDED_MODELS, load_diffusion_model
from ..loaders.errors import InputError
from ..rewards import REWARDS, load_reward
from . import host
from .wires import CATEGORY, TasteModel, TasteReward

DTYPES = ("auto", "float32", "float16", "bfloat16")

# Two nodes that load the same thing share it while anybody holds it.
_models: WeakValueDictionary = WeakValueDictionary()
_rewards: WeakValueDictionary = WeakValueDictionary()


def _dtype(name: str):
    import torch

    if name not in DTYPES:
        raise InputError("dtype", name, f"Pick one of {', '.join(DTYPES)}.")
    return host.preferred_dtype() if name == "auto" else getattr(torch, name)


def _dtype_input() -> io.Input:
    return io.Combo.Input(
        "dtype",
        options=list(DTYPES),
        default="auto",
        tooltip="Number format of the networks. auto is float16 on a GPU and float32 on a CPU.",
    )


class TastemakerLoadModel(io.ComfyNode):
    """Loads a diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TastemakerLoadModel",
            display_name="Load Taste Model",
            category=CATEGORY,
            description="Loads a model of the SDXL architecture or an unconditional DDPM. "
            "Two small ones come with the pack; others go into models/diffusers.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*EMBEDDED_MODELS, *host.model_folders()],
                    default=EMBEDDED_MODELS[0],
                    tooltip="tiny-sdxl and tiny-ddpm come with the pack. "
                    "The others are the folders in ComfyUI/models/diffusers.",
                ),
                _dtype_input(),
            ],
            outputs=[TasteModel.Output(display_name="model")],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, dtype: str) -> str:
        """Run again when the model's index changes on disk."""
        folder = host.model_folders().get(model)
        return f"{model}:{dtype}:{folder and (folder / 'model_index.json').stat().st_mtime_ns}"

    @classmethod
    def execute(cls, model: str, dtype: str) -> io.NodeOutput:
        folders = host.model_folders()
        if model not in EMBEDDED_MODELS and model not in folders:
            known = ", ".join([*EMBEDDED_MODELS, *folders])
            raise InputError("model", model, f"There is no such model folder in models/diffusers. There are: {known}.")
        source = model if model in EMBEDDED_MODELS else folders[model]
        key = (str(source), _dtype(dtype), cls.fingerprint_inputs(model, dtype))
        loaded = _models.get(key)
        if loaded is None:
            with host.loading():
                loaded = load_diffusion_model(source, dtype=key[1])
            _models[key] = loaded
        return io.NodeOutput(loaded)


class TastemakerLoadReward(io.ComfyNode):
    """Loads a reward model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TastemakerLoadReward",
            display_name="Load Reward",
            category=CATEGORY,
            description="Loads a model that scores how well a picture fits its prompt and how much people like it.",
            inputs=[
                io.Combo.Input(
                    "reward",
                    options=list(REWARDS),
                    default=next(iter(REWARDS)),
                    tooltip="tiny-imagereward comes with the pack and knows the pictures of the embedded models.",
                ),
                _dtype_input(),
            ],
            outputs=[TasteReward.Output(display_name="reward")],
        )

    @classmethod
    def execute(cls, reward: str, dtype: str) -> io.NodeOutput:
        key = (reward, _dtype(dtype))
        loaded = _rewards.get(key)
        if loaded is None:
            with host.loading():
                loaded = load_reward(reward, dtype=key[1])
            _rewards[key] = loaded
        return io.NodeOutput(loaded)

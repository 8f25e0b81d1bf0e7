"""Load Model and Load Reward."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

from comfy_api.latest import io

from ..loaders import EMBEDDED_MODELS, load_diffusion_model
from ..loaders.catalogue import how_to_get
from ..loaders.errors import InputError
from ..loaders.fingerprint import changes
from ..rewards import REWARDS, load_reward
from . import host
from .about import about
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
            "Two small ones come with the pack; others go into models/diffusers or models/checkpoints.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(_sources()),
                    default=EMBEDDED_MODELS[0],
                    tooltip="tiny-sdxl and tiny-ddpm come with the pack. The others are the folders in "
                    "ComfyUI/models/diffusers and the .safetensors files in ComfyUI/models/checkpoints.",
                ),
                _dtype_input(),
            ],
            outputs=[
                TasteModel.Output(display_name="model"),
                io.String.Output(display_name="about", tooltip="What was loaded, to read: connect Preview as Text."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, dtype: str) -> str:
        """Run again when a file of the model changes on disk."""
        source = _sources().get(model)
        return f"{model}:{dtype}:{'' if source is None or model in EMBEDDED_MODELS else changes(source)}"

    @classmethod
    def execute(cls, model: str, dtype: str) -> io.NodeOutput:
        sources = _sources()
        if not isinstance(model, str) or model not in sources:
            raise InputError("model", model, _no_such_model(str(model), list(sources)))
        source = sources[model]
        key = (str(source), _dtype(dtype), cls.fingerprint_inputs(model, dtype))
        loaded = _models.get(key)
        if loaded is None:
            with host.loading():
                loaded = load_diffusion_model(source, dtype=key[1])
            _models[key] = loaded
        return io.NodeOutput(loaded, about(loaded))


def _sources() -> dict[str, str | Path]:
    """What can be loaded, by the names the widget shows: embedded models, folders, single files.

    A file keeps the name the host gives it, ending included, so that the host can offer to get it. A folder
    of such a name, or of an embedded model's, is listed with a slash behind it.
    """
    found: dict[str, str | Path] = {name: name for name in EMBEDDED_MODELS}
    for name, folder in host.model_folders().items():
        taken = name in EMBEDDED_MODELS or name.lower().endswith(".safetensors")
        found[f"{name}/" if taken else name] = folder
    return found | host.checkpoint_files()


def _no_such_model(model: str, names: list[str]) -> str:
    known = how_to_get(model)
    if known:
        return f"This model is not there. {known}\n"  # a line's end, so that the command can be copied
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"There is no such model in models/diffusers or models/checkpoints. There are: {shown}."


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

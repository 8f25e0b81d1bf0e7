"""Load Taste Model: a folder, a file or an embedded model to a handle."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from comfy_api.latest import io

from ..core.errors import InputError
from ..loaders import EMBEDDED_MODELS, DiffusionModel, load_diffusion_model
from ..loaders.catalogue import how_to_get
from ..loaders.folder.schedulers import AUTO, PREDICTION_CHOICES
from ..loaders.formats.fingerprint import changes
from . import host
from .about import about
from .checked import checked
from .inputs import dtype_input, dtype_of
from .listing import schema
from .wires import CATEGORY, TasteModel

# two nodes that load the same thing share it while anybody holds it
models: WeakValueDictionary[tuple[Any, ...], DiffusionModel] = WeakValueDictionary()


class TastemakerLoadModel(io.ComfyNode):
    """Loads a diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerLoadModel",
            display_name="Load Taste Model",
            category=CATEGORY,
            description="Loads a model of the SDXL architecture or an unconditional DDPM. "
            "Two small ones come with the pack; others go into models/diffusers or models/checkpoints.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=_names(),
                    default=EMBEDDED_MODELS[0],
                    tooltip="tiny-sdxl and tiny-ddpm come with the pack. The others are the folders in "
                    "ComfyUI/models/diffusers and the .safetensors files in ComfyUI/models/checkpoints.",
                ),
                dtype_input(
                    "Number format of the networks. auto is float16 on a GPU; on a CPU it is bfloat16 where the CPU "
                    "has instructions for it, else float32. The VAE is float32 on a CPU."
                ),
                io.Combo.Input(
                    "prediction_type",
                    options=list(PREDICTION_CHOICES),
                    default=AUTO,
                    optional=True,
                    tooltip="What the network predicts. auto is what the model's files say, which is right for nearly "
                    "all. Pick v_prediction for a v-prediction checkpoint that does not say so (its pictures are grey "
                    "mud on auto), v_prediction_zero_snr for one trained up to pure noise.",
                ),
            ],
            outputs=[
                TasteModel.Output(display_name="model"),
                io.String.Output(display_name="about", tooltip="What was loaded, to read: connect Preview as Text."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: object = None) -> bool:
        """Leave the check of `model` to execute, which says what to do; newer hosts only say `not in list`."""
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str, dtype: str, prediction_type: str = AUTO) -> str:
        """Run again when a file of the model changes on disk."""
        return f"{model}:{dtype}:{prediction_type}:{_stamp(_source(model))}"

    @classmethod
    @checked(looked_up=("model",))
    def execute(cls, model: str, dtype: str, prediction_type: str = AUTO) -> io.NodeOutput:
        source = _source(model)
        if source is None:
            raise InputError("model", model, _no_such_model(model))
        # by the format itself: auto and what it stands for are one
        key = (str(source), dtype_of(dtype), prediction_type, _stamp(source))
        loaded = models.get(key)
        if loaded is None:
            with host.loading():
                loaded = load_diffusion_model(
                    source, dtype=key[1], runs_on=host.compute_device(), prediction_type=prediction_type
                )
            models[key] = loaded
        return io.NodeOutput(loaded, about(loaded))


def _folders() -> dict[str, Path]:
    """Return model folders by the names the widget shows.

    A single file keeps the name the host gives it, ending included, so that the host can offer to get it. So
    a folder of such a name, or of an embedded model's, is listed with a slash behind it.
    """
    found = host.model_folders()
    taken = {n for n in found if n in EMBEDDED_MODELS or n.lower().endswith(".safetensors")}
    return {f"{name}/" if name in taken else name: folder for name, folder in found.items()}


def _names() -> list[str]:
    return [*EMBEDDED_MODELS, *_folders(), *host.weight_names("checkpoints")]


def _source(model: object) -> str | Path | None:
    """Return what a name of the widget stands for; None for one that is not listed."""
    if not isinstance(model, str):
        return None
    return model if model in EMBEDDED_MODELS else _folders().get(model) or host.weight_file("checkpoints", model)


def _stamp(source: str | Path | None) -> str:
    """Return what changes when a model changes on disk."""
    return changes(source) if isinstance(source, Path) else ""


def _no_such_model(model: str) -> str:
    known, names = how_to_get(model), _names()
    if known:
        return f"This model is not there. {known}\n"  # a line's end, so that the command can be copied
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"There is no such model in models/diffusers or models/checkpoints. There are: {shown}."

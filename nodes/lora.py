"""Load LoRA: a LoRA file onto a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from comfy_api.latest import io

from ..core.errors import InputError
from ..loaders import lora_state, read_lora, with_lora
from ..loaders.catalogue import how_to_get
from ..loaders.lora.apply import MAX_STRENGTH
from ..loaders.lora.layers import Lora
from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteModel

if TYPE_CHECKING:
    from ..loaders import DiffusionModel

# Nodes that load the same file share it while anybody holds it.
_loras: WeakValueDictionary[tuple[str, int, int], Lora] = WeakValueDictionary()


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def _file(name: str) -> Path:
    path = host.weight_file("loras", name)
    known = how_to_get(name) if path is None and isinstance(name, str) else ""
    if known:
        raise InputError("lora", name, f"This LoRA is not there. {known}\n")  # the command stands last on its line
    if path is None:
        there = ", ".join(host.weight_names("loras")[:20]) or "none"
        raise InputError(
            "lora", name, f"There is no such .safetensors file in models/loras. There are: {there}. Reload the page."
        )
    return path


def _strength_input(name: str, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=1.0, min=-MAX_STRENGTH, max=MAX_STRENGTH, step=0.05, tooltip=tooltip)


class TastemakerLoadLoRA(io.ComfyNode):
    """Puts a LoRA on a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerLoadLoRA",
            display_name="Load Taste LoRA",
            category=CATEGORY,
            description="Puts a LoRA on a model. The model that comes in stays as it is, so other branches of the "
            "graph can go on without the LoRA. Several can be put on one after the other.",
            inputs=[
                TasteModel.Input("model", tooltip="From Load Taste Model, or from another Load Taste LoRA."),
                io.Combo.Input(
                    "lora",
                    options=host.weight_names("loras"),
                    tooltip="The .safetensors files in ComfyUI/models/loras. It must be made for this kind of model.",
                ),
                _strength_input("strength", "How strongly the picture network takes it. 0 is not at all."),
                _strength_input("strength_text", "How strongly the text encoders take it, if it changes them."),
            ],
            outputs=[
                TasteModel.Output(display_name="model"),
                io.LoraModel.Output(
                    display_name="lora", tooltip="The LoRA itself, for ComfyUI's Load LoRA Model and Save LoRA Weights."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora: object = None) -> bool:
        """Leave the check of `lora` to execute, which says what to do; newer hosts only say `not in list`."""
        return True

    @classmethod
    def fingerprint_inputs(cls, lora: str, **others: object) -> str:
        """Run again when the file changes on disk."""
        path = host.weight_file("loras", lora)
        return f"{lora}:{path and _stamp(path)}"

    @classmethod
    @checked(looked_up=("lora",))
    def execute(cls, model: DiffusionModel, lora: str, strength: float, strength_text: float) -> io.NodeOutput:
        stamp = _stamp(_file(lora))
        with host.loading():
            loaded = _loras.get(stamp)
            if loaded is None:
                loaded = _loras[stamp] = read_lora(stamp[0])
            changed = with_lora(model, loaded, strength, strength_text)
            state = lora_state(changed.loras[-1].targets)
        return io.NodeOutput(changed, state, ui={"tastemaker_report": [loaded.summary()]})

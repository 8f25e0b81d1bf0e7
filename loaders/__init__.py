"""Weights to modules and back. Imports only `core`; torch only when used."""

from ..core.assets import EMBEDDED_MODELS, EMBEDDED_REWARDS, asset_folder
from ..core.errors import InputError, ModelFileError, NonFiniteError, TastemakerError
from .load import load_diffusion_model
from .lora.apply import applied_loras, with_lora
from .lora.layers import Lora
from .lora.read import read_lora
from .lora.state import lora_state
from .model import DiffusionModel

__all__ = [
    "EMBEDDED_MODELS",
    "EMBEDDED_REWARDS",
    "DiffusionModel",
    "InputError",
    "Lora",
    "ModelFileError",
    "NonFiniteError",
    "TastemakerError",
    "applied_loras",
    "asset_folder",
    "load_diffusion_model",
    "lora_state",
    "read_lora",
    "with_lora",
]

"""Weights to modules and back. Imports only `core`; torch only when used."""

from ..core.assets import EMBEDDED_MODELS, EMBEDDED_REWARDS, asset_folder
from ..core.errors import InputError, ModelFileError, NonFiniteError, TastemakerError
from .load import load_diffusion_model
from .lora.apply import Lora, applied_loras, lora_state, read_lora
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
]

"""Weights on disk to modules and back. Imports nothing of ours; torch only when used."""

from .embedded import EMBEDDED_MODELS, EMBEDDED_REWARDS, asset_folder
from .errors import InputError, ModelFileError, NonFiniteError, TastemakerError
from .load import load_diffusion_model
from .model import DiffusionModel

__all__ = [
    "EMBEDDED_MODELS",
    "EMBEDDED_REWARDS",
    "DiffusionModel",
    "InputError",
    "ModelFileError",
    "NonFiniteError",
    "TastemakerError",
    "asset_folder",
    "load_diffusion_model",
]

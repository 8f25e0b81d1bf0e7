"""`load_diffusion_model`: a name or a folder to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .embedded import EMBEDDED_MODELS, asset_folder
from .errors import ModelFileError

if TYPE_CHECKING:
    import torch

    from .model import DiffusionModel


def load_diffusion_model(
    source: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> DiffusionModel:
    """Load a diffusion model, frozen and in eval mode.

    Args:
        source: an embedded model's name (`"tiny-sdxl"`, `"tiny-ddpm"`) or a diffusers folder.
        dtype: what the networks run in; None is float32 on a CPU, float16 on a GPU.
        device: None is the CPU.

    Raises:
        ModelFileError: what is wrong with the folder and what to do about it.
    """
    import torch

    from .diffusers_folder import load_folder

    device = torch.device(device or "cpu")
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.float16)
    if str(source) in EMBEDDED_MODELS:
        return load_folder(asset_folder(str(source)), name=str(source), dtype=dtype, device=device)
    folder = Path(source)
    if not folder.is_dir():
        raise ModelFileError(
            f"{folder.name!r} is neither an embedded model ({', '.join(EMBEDDED_MODELS)}) nor a model folder."
        )
    return load_folder(folder, name=folder.name, dtype=dtype, device=device)

"""`load_diffusion_model`: a name, a folder or a single file to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.assets import EMBEDDED_MODELS, asset_folder
from ..core.errors import ModelFileError
from .catalogue import how_to_get
from .folder.schedulers import AUTO

if TYPE_CHECKING:
    import torch

    from .model import DiffusionModel


def load_diffusion_model(
    source: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    runs_on: torch.device | str | None = None,
    prediction_type: str = AUTO,
) -> DiffusionModel:
    """Load a diffusion model, frozen and in eval mode.

    Args:
        source: an embedded model's name (`"tiny-sdxl"`, `"tiny-ddpm"`), a diffusers folder, or a
            `.safetensors` checkpoint of SDXL or its refiner in the original layout.
        dtype: what the networks run in; None is float32 on a CPU, float16 on a GPU. The VAE is float32 on a CPU, and
            one that overflows float16 is loaded in bfloat16 or float32 instead (`precision.vae_dtype`).
        device: None is the CPU.
        runs_on: where it will compute, if a host moves it there later; None is `device`.
        prediction_type: what the network predicts, where the files do not say it or say it wrongly: one of
            `schedulers.PREDICTION_CHOICES`; `"auto"` is what they say.

    Raises:
        ModelFileError: what is wrong with the folder or file, or what it is instead, and what to do about it.
        InputError: an unknown prediction_type.
    """
    import torch

    from .folder.load import load_folder
    from .single_file.load import load_single_file

    where = torch.device(device or "cpu")
    dtype = dtype or (torch.float32 if where.type == "cpu" else torch.float16)
    settings: dict[str, Any] = {"dtype": dtype, "device": where, "prediction": prediction_type}
    settings["runs_on"] = torch.device(runs_on or where)
    if str(source) in EMBEDDED_MODELS:
        return load_folder(asset_folder(str(source)), name=str(source), **settings)
    path = Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as e:  # a NUL in the name, or a name too long
        raise ModelFileError(f"{str(source)[:80]!r} is not a valid file or folder name.") from e
    if is_file:
        return load_single_file(path, **settings)
    if not is_folder:
        what = f"an embedded model ({', '.join(EMBEDDED_MODELS)}) nor a model folder or file"
        raise ModelFileError(f"{path.name!r} is neither {what}. {how_to_get(path.name)}".rstrip())
    return load_folder(path, name=path.name, **settings)

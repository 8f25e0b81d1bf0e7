"""Single `.safetensors` checkpoints in the original SDXL layout to `DiffusionModel`s."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.assets import asset_folder
from ...core.errors import ModelFileError
from ..catalogue import known_model
from ..formats.fingerprint import fingerprint
from ..formats.limits import check_sizes
from ..formats.precision import vae_dtype
from ..formats.weights import fill, own_copy
from ..layout import architectures
from ..layout.architectures import Shapes
from ..layout.original import Source, clip_sources, is_harmless_extra, open_clip_sources, unet_sources, vae_sources
from ..model import DiffusionModel
from .identify import REFINER, SDXL, identify_shapes, read_header, refusal

if TYPE_CHECKING:
    import torch
    from torch import nn

_log = logging.getLogger(__name__)

_SHOWN = 5


class Part(NamedTuple):
    """One module of a checkpoint, built on the meta device, and where its tensors are in the file."""

    module: nn.Module
    sources: Mapping[str, Source]


def load_single_file(path: Path, *, dtype: torch.dtype, device: torch.device, runs_on: torch.device) -> DiffusionModel:
    """Load an SDXL or SDXL refiner checkpoint onto `device`, to compute on `runs_on`.

    Strict: every tensor of every part must fit.

    Tensors are read one at a time and cast as they are read, so that no more is held than the model.
    Raises ModelFileError: what the file is when it is something else, or which tensors do not fit.
    """
    shapes = read_header(path)
    kind = identify_shapes(shapes)
    if kind not in (SDXL, REFINER):
        raise refusal(path, kind)
    if "ztsnr" in shapes and "v_pred" not in shapes:
        raise ModelFileError(
            f"{path.name} was trained with noise up to zero signal (it holds a tensor named ztsnr), where a network "
            "that predicts epsilon says nothing: it should hold one named v_pred too. Use a model without it."
        )
    parts = _parts(path, shapes, refiner=kind == REFINER)
    check_fit(path.name, shapes, parts)
    _read(path, parts, dtype, runs_on)
    for part in parts.values():
        part.module.requires_grad_(False).eval().to(device=device)
    both = tokenizers()
    return DiffusionModel(
        name=path.name,
        architecture="sdxl" if kind == SDXL else "sdxl-refiner",
        modules={name: part.module for name, part in parts.items()},
        tokenizers=both if kind == SDXL else both[1:],
        scheduler_config=_scheduler_config(path.name, shapes),
        fingerprint=fingerprint(path.parent, [path]),
        zero_empty_prompt=kind == SDXL,
    )


def _scheduler_config(name: str, shapes: Shapes) -> dict[str, Any]:
    """SDXL's, with the scheduler that the catalogue has for a file of this name: no file holds its own."""
    config = architectures.scheduler_config(v_prediction="v_pred" in shapes, zero_snr="ztsnr" in shapes)
    known = known_model(name)
    return config if known is None else config | {"_class_name": known.scheduler}


def tokenizers() -> tuple[Any, Any]:
    """CLIP's tokenizer as SDXL's two encoders use it: padded with the end of text, and with id 0.

    Id 0 is `!` in the vocabulary, yet a `!` in a prompt is another token (`!</w>`): the id is set
    after the tokenizer is made, so that it is no special text to be looked for in prompts.
    """
    from transformers import CLIPTokenizerFast  # the plain one of transformers 4 splits Chinese otherwise

    tokenizer = str(asset_folder("clip-tokenizer"))
    first = CLIPTokenizerFast.from_pretrained(tokenizer, local_files_only=True)
    second = CLIPTokenizerFast.from_pretrained(tokenizer, local_files_only=True)
    second.pad_token_id = 0
    return first, second


# --- which modules, of which sizes ------------------------------------------------------------


def _parts(path: Path, shapes: Shapes, *, refiner: bool) -> dict[str, Part]:
    """The modules of a checkpoint on the meta device, with the sources of their tensors."""
    try:
        return refiner_parts(shapes) if refiner else base_parts(shapes)
    except ModelFileError as e:
        raise ModelFileError(f"{path.name} is not a whole SDXL checkpoint. {e}") from e


def base_parts(shapes: Shapes) -> dict[str, Part]:
    """SDXL: UNet, VAE, CLIP-L and OpenCLIP bigG. Raises ModelFileError."""
    clip_g = _clip_g("conditioner.embedders.1.model.", shapes)
    return {
        "unet": _unet(shapes, clip_g, architectures.BASE_SIZE_NUMBERS),
        "vae": _vae(shapes),
        "text_encoder": _clip_l("conditioner.embedders.0.transformer.", shapes),
        "text_encoder_2": clip_g,
    }


def refiner_parts(shapes: Shapes) -> dict[str, Part]:
    """SDXL's refiner: UNet, VAE and OpenCLIP bigG. Raises ModelFileError."""
    clip_g = _clip_g("conditioner.embedders.0.model.", shapes)
    unet = _unet(shapes, clip_g, architectures.REFINER_SIZE_NUMBERS)
    return {"unet": unet, "vae": _vae(shapes), "text_encoder_2": clip_g}


def _unet(shapes: Shapes, clip_g: Part, size_numbers: int) -> Part:
    from diffusers import UNet2DConditionModel

    pooled = clip_g.module.config.projection_dim
    config = architectures.unet_config(shapes, pooled=pooled, size_numbers=size_numbers)
    module = _on_meta(config, lambda: UNet2DConditionModel(**config))
    return Part(module, unet_sources(module.state_dict()))


def _vae(shapes: Shapes) -> Part:
    from diffusers import AutoencoderKL

    config = architectures.vae_config(shapes)
    module = _on_meta(config, lambda: AutoencoderKL(**config))
    return Part(module, vae_sources(module.state_dict()))


def _clip_l(prefix: str, shapes: Shapes) -> Part:
    from transformers import CLIPTextConfig, CLIPTextModel

    # savers under transformers 5 leave `text_model.` out
    inner = prefix + "text_model."
    prefix = inner if any(name.startswith(inner) for name in shapes) else prefix
    config = architectures.clip_l_config(shapes, prefix)
    module = _on_meta(config, lambda: CLIPTextModel(CLIPTextConfig(**config)))
    return Part(module, clip_sources(module.state_dict(), prefix))


def _clip_g(prefix: str, shapes: Shapes) -> Part:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = architectures.clip_g_config(shapes, prefix)
    module = _on_meta(config, lambda: CLIPTextModelWithProjection(CLIPTextConfig(**config)))
    plain = prefix + "text_projection.weight" in shapes
    projection = "text_projection.weight" if plain else "text_projection"
    return Part(module, open_clip_sources(module.state_dict(), prefix, projection=projection))


def _on_meta(config: Mapping[str, Any], make: Callable[[], nn.Module]) -> nn.Module:
    import torch

    check_sizes(config, "The sizes of its tensors")
    try:
        with torch.device("meta"):
            return make()
    except (TypeError, ValueError, KeyError, ZeroDivisionError, NotImplementedError, RuntimeError) as e:
        raise ModelFileError(f"Its tensors' shapes describe no SDXL part: {str(e)[:200]}.") from e


# --- strictness, before a tensor is read ------------------------------------------------------


def check_fit(name: str, shapes: Shapes, parts: Mapping[str, Part]) -> None:
    """Compare a header with what the modules need. `name` is the file's.

    Raises ModelFileError with the file's own tensor names: missing, unknown or misshapen.
    """
    needed: dict[str, tuple[tuple[int, ...], ...]] = {}
    for part in parts.values():
        for key, tensor in part.module.state_dict().items():
            if source := part.sources.get(key):
                needed[source.name] = _stored_shapes(tuple(tensor.shape), source)
    missing = needed.keys() - shapes.keys()
    extra = {n for n in shapes.keys() - needed.keys() if not is_harmless_extra(n)}
    if missing or extra:
        said = [f"missing {_some(missing)}"] if missing else []
        said += [f"unknown {_some(extra)}"] if extra else []
        raise ModelFileError(f"{name} is not a whole SDXL checkpoint: {'; '.join(said)}. Download it again.")
    for tensor, possible in needed.items():
        if shapes[tensor] not in possible:
            raise ModelFileError(
                f"{name}: {tensor} has the shape {shapes[tensor]}; the rest of the file needs {possible[0]}."
            )
    if any(n.startswith("model_ema.") for n in shapes):
        _log.info("%s also holds an averaged copy of its weights (model_ema); the main weights are used.", name)


def _stored_shapes(shape: tuple[int, ...], source: Source) -> tuple[tuple[int, ...], ...]:
    """The shapes that a file may give a tensor which has this shape in its module, the usual one first."""
    if source.third is not None:
        return ((3 * shape[0], *shape[1:]),)
    if source.transposed:
        return (shape[::-1],)
    return ((*shape, 1, 1), shape) if source.squeezed else (shape,)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


# --- reading ----------------------------------------------------------------------------------


def _read(path: Path, parts: Mapping[str, Part], dtype: torch.dtype, runs_on: torch.device) -> None:
    """Fill the modules from the file, part by part. Raises ModelFileError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            for name, part in parts.items():
                wanted = vae_dtype(dtype, part.module.config, runs_on) if name == "vae" else dtype
                state = {key: own_copy(_take(file, source), wanted) for key, source in part.sources.items()}
                fill(part.module, state, where=f"{path.name} ({name})")
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as e:
        if isinstance(e, ModelFileError):
            raise
        raise ModelFileError(f"{path.name} is damaged ({str(e)[:200]}). Download it again.") from e


def _take(file: Any, source: Source) -> torch.Tensor:
    """One tensor as its module has it; a view of the mapped file where it can be."""
    if source.third is not None:
        rows = file.get_slice(source.name)
        third = rows.get_shape()[0] // 3
        return rows[source.third * third : (source.third + 1) * third]
    tensor = file.get_tensor(source.name)
    if source.transposed:
        return tensor.T
    if source.squeezed and tensor.dim() == 4:
        return tensor[:, :, 0, 0]
    return tensor

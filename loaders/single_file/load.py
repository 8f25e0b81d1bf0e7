"""Single `.safetensors` checkpoints in the original SDXL layout to `DiffusionModel`s.

Not diffusers' `from_single_file`: offline it needs a folder of configs beside the file, and it is not strict. Of six
damaged files (a tensor missing in each of the four parts, an unknown one, NaN) diffusers 0.42.1 loads all six, and
all six are refused here. It takes as long: 0.50 s of CPU against 0.47 for a file of 129 MB (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.errors import ModelFileError
from ...core.texts import some
from ..architecture import ARCHITECTURES, Architecture, ArchitectureSpec
from ..catalogue import known_model
from ..folder.schedulers import AUTO, with_prediction
from ..folder.tokenizer import shipped_tokenizers
from ..formats.fingerprint import fingerprint, varied
from ..formats.limits import check_sizes
from ..formats.precision import vae_dtype
from ..formats.tensors import own_copy
from ..formats.weights import fill
from ..layout import configs
from ..layout.configs import Shapes
from ..layout.open_clip import open_clip_sources
from ..layout.original import Source, clip_sources, is_quantized, part_roots, unet_sources, vae_sources
from ..model import DiffusionModel
from ..native_size import apply_native_size, known_size
from .identify import REFINER, SDXL, identify_shapes, read_model_header, refusal
from .settings import Notes, is_distilled, is_zero_snr, prediction_type, trained_size

if TYPE_CHECKING:
    import torch
    from torch import nn

_log = logging.getLogger(__name__)
_ARCHITECTURES: dict[str, Architecture] = {SDXL: "sdxl", REFINER: "sdxl-refiner"}
_MARKS = ("v_pred", "ztsnr")


class Part(NamedTuple):
    """One module of a checkpoint, built on the meta device, and where its tensors are in the file."""

    module: nn.Module
    sources: Mapping[str, Source]


def load_single_file(
    path: Path, *, dtype: torch.dtype, device: torch.device, runs_on: torch.device, prediction: str = AUTO
) -> DiffusionModel:
    """Load an SDXL or SDXL refiner checkpoint onto `device`, to compute on `runs_on`.

    Strict: every tensor of every part must fit. `prediction` is one of `schedulers.PREDICTION_CHOICES`; auto is what
    the file says.

    Tensors are read one at a time and cast as they are read, so that no more is held than the model.
    Raises ModelFileError: what the file is when it is something else, or which tensors do not fit.
    """
    shapes, notes = read_model_header(path)
    kind = identify_shapes(shapes)
    if kind not in _ARCHITECTURES:
        raise refusal(path, kind)
    architecture = _ARCHITECTURES[kind]
    spec = ARCHITECTURES[architecture]
    config = scheduler_config(path.name, shapes, notes, prediction)
    parts = _parts(path, shapes, spec)
    check_fit(path.name, shapes, parts)
    _read(path, parts, dtype, runs_on)
    for part in parts.values():
        part.module.requires_grad_(False).eval().to(device=device)
    modules = {name: part.module for name, part in parts.items()}
    size = known_size(path.name, architecture) or trained_size(notes)
    resized = size is not None and apply_native_size(modules, size)
    print_ = fingerprint(path.parent, [path])
    if prediction != AUTO or resized:
        print_ = varied(print_, prediction, size)
    tokenizers = dict(zip(("text_encoder", "text_encoder_2"), shipped_tokenizers(), strict=True))
    return DiffusionModel(
        name=path.name,
        architecture=architecture,
        modules=modules,
        tokenizers=tuple(tokenizers[name] for name in spec.text_encoders),
        scheduler_config=config,
        fingerprint=print_,
        zero_empty_prompt=spec.zero_empty_prompt,
    )


def scheduler_config(name: str, shapes: Shapes, notes: Notes, prediction: str = AUTO) -> dict[str, Any]:
    """Return SDXL's scheduler config with what the file says of its sampling, and the catalogue of its name.

    Raises ModelFileError for a network that predicts epsilon from pure noise, InputError for an unknown `prediction`.
    """
    said = prediction_type(name, shapes, notes)
    zero_snr = is_zero_snr(shapes, notes, said)
    distilled = is_distilled(name, notes)
    config = configs.scheduler_config(prediction_type=said, zero_snr=zero_snr, distilled=distilled)
    known = known_model(name)
    if known is not None:
        config["_class_name"] = known.scheduler
    config = with_prediction(config, prediction)
    if zero_snr and config["prediction_type"] == "epsilon":
        raise ModelFileError(
            f"{name} was trained with noise up to zero signal (it holds a tensor named ztsnr), where a network "
            "that predicts epsilon says nothing: it should hold one named v_pred too. Pick v_prediction as its "
            "prediction_type, or use a model without it."
        )
    return config


# --- which modules, of which sizes ------------------------------------------------------------


def _parts(path: Path, shapes: Shapes, spec: ArchitectureSpec) -> dict[str, Part]:
    """Build the modules of a checkpoint on the meta device, with the sources of their tensors."""
    try:
        return checkpoint_parts(shapes, spec)
    except ModelFileError as e:
        raise ModelFileError(f"{path.name} is not a whole SDXL checkpoint. {e}") from e


def checkpoint_parts(shapes: Shapes, spec: ArchitectureSpec) -> dict[str, Part]:
    """Build UNet, VAE, CLIP-L (not in refiners) and OpenCLIP bigG, the last of the embedders. Raises ModelFileError."""
    last = len(spec.text_encoders) - 1
    clip_g = _clip_g(f"conditioner.embedders.{last}.model.", shapes)
    parts = {"unet": _unet(shapes, clip_g, spec.size_numbers), "vae": _vae(shapes, spec)}
    if last:
        parts["text_encoder"] = _clip_l("conditioner.embedders.0.transformer.", shapes)
    return parts | {"text_encoder_2": clip_g}


def _unet(shapes: Shapes, clip_g: Part, size_numbers: int) -> Part:
    from diffusers import UNet2DConditionModel

    pooled = clip_g.module.config.projection_dim
    config = configs.unet_config(shapes, pooled=pooled, size_numbers=size_numbers)
    module = _on_meta(config, lambda: UNet2DConditionModel(**config))
    return Part(module, unet_sources(module.state_dict()))


def _vae(shapes: Shapes, spec: ArchitectureSpec) -> Part:
    from diffusers import AutoencoderKL

    config = configs.vae_config(shapes, spec.latent_scale)
    module = _on_meta(config, lambda: AutoencoderKL(**config))
    return Part(module, vae_sources(module.state_dict()))


def _clip_l(prefix: str, shapes: Shapes) -> Part:
    from transformers import CLIPTextConfig, CLIPTextModel

    # savers under transformers 5 leave `text_model.` out
    inner = prefix + "text_model."
    prefix = inner if any(name.startswith(inner) for name in shapes) else prefix
    config = configs.clip_l_config(shapes, prefix)
    module = _on_meta(config, lambda: CLIPTextModel(CLIPTextConfig(**config)))
    return Part(module, clip_sources(module.state_dict(), prefix))


def _clip_g(prefix: str, shapes: Shapes) -> Part:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = configs.clip_g_config(shapes, prefix)
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

    What belongs to no part is left, and logged. Raises ModelFileError with the file's own tensor names: missing,
    unknown inside a part, misshapen, or scales of 8-bit weights.
    """
    needed: dict[str, tuple[tuple[int, ...], ...]] = {}
    for part in parts.values():
        for key, tensor in part.module.state_dict().items():
            if source := part.sources.get(key):
                needed[source.name] = _stored_shapes(tuple(tensor.shape), source)
    missing, extra = needed.keys() - shapes.keys(), shapes.keys() - needed.keys()
    inside = {n for n in extra if n.startswith(part_roots(needed))}
    scales = {n for n in inside | {"scaled_fp8"} & extra if is_quantized(n)}
    if scales:
        raise ModelFileError(
            f"{name} is stored in 8 or 4 bits with scales beside them ({some(scales)}), which are not read here. Get "
            "the same model in fp16, bf16 or plain fp8."
        )
    if missing or inside:
        said = [f"missing {some(missing)}"] if missing else []
        said += [f"unknown {some(inside)}"] if inside else []
        raise ModelFileError(
            f"{name} is not a whole SDXL checkpoint: {'; '.join(said)}. Use another file of this model."
        )
    for tensor, possible in needed.items():
        if shapes[tensor] not in possible:
            raise ModelFileError(
                f"{name}: {tensor} has the shape {shapes[tensor]}; the rest of the file needs {possible[0]}."
            )
    unused = {n for n in extra if n not in _MARKS}
    if unused:
        _log.info("%s also holds tensors of none of its parts, which are not used: %s.", name, some(unused))


def _stored_shapes(shape: tuple[int, ...], source: Source) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that a file may give a tensor which has this shape in its module, the usual one first."""
    if source.third is not None:
        return ((3 * shape[0], *shape[1:]),)
    if source.transposed:
        return (shape[::-1],)
    return ((*shape, 1, 1), shape) if source.squeezed else (shape,)


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

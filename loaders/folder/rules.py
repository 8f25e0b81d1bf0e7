"""What a diffusers model folder may name. A library sees a folder only after these checks.

A `model_index.json` can name any class of any library and a config any code file; both come from
strangers. So the pipelines, components, classes and config keys known here are the only ones.
"""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

from ...core.errors import ModelFileError
from ..architecture import ARCHITECTURES, Architecture, ArchitectureSpec
from ..formats.limits import check_sizes
from ..formats.weights import read_json
from .config_values import check_clip_values, check_values
from .files import model_files, part_folder
from .schedulers import check_scheduler_class

# what a CLIP text encoder's config says, and what old and new transformers write beside it
_CLIP_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers"),
    *("num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout"),
    *("initializer_range", "initializer_factor", "pad_token_id", "bos_token_id", "eos_token_id"),
)
_CLIP_NOTES = (
    *("architectures", "torch_dtype", "dtype", "transformers_version", "model_type", "dropout"),
    *("return_dict", "output_hidden_states", "output_attentions", "use_cache", "torchscript", "gradient_checkpointing"),
)


def check_folder(folder: Path) -> tuple[Architecture, dict[str, Any]]:
    """Check a model folder against what is known of its architecture. Return that and the folder's index.

    Raises ModelFileError saying what the folder is or what it holds that no model should.
    """
    if not folder.is_dir():
        raise ModelFileError(f"There is no model folder {folder.name}. Pick another, or download it again.")
    model_files(folder)
    if not (folder / "model_index.json").is_file():
        raise _no_index(folder)
    index = read_json(folder / "model_index.json")
    spec = _named_architecture(folder, index)
    for name in spec.components:
        _check_component(folder, index, name, spec)
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, (str, dict)):
            raise ModelFileError(f"{folder.name}/model_index.json has the unknown setting {name}: {str(value)[:80]!r}.")
        unused = name.startswith("_") or name in spec.components or not isinstance(value, list)
        if not unused and value != [None, None]:
            raise ModelFileError(f"{folder.name}/model_index.json names an unknown component {name}: {value!r}.")
    return spec.name, index


def _named_architecture(folder: Path, index: dict[str, Any]) -> ArchitectureSpec:
    """Return the architecture whose pipeline an index names. Raises ModelFileError."""
    pipeline = index.get("_class_name")
    possible = [spec for spec in ARCHITECTURES.values() if pipeline in spec.pipelines]
    if not possible:
        raise ModelFileError(
            f"{folder.name} is a {pipeline!r}; models of the SDXL architecture (StableDiffusionXLPipeline) "
            "and unconditional ones (DDPMPipeline) can be loaded."
        )
    # of those with the same pipelines, the parts that an index has none of decide: refiners have one encoder
    without = {name for name, found in index.items() if found == [None, None]}
    return next((spec for spec in possible if not without & spec.text_encoders.keys()), possible[0])


def _check_component(folder: Path, index: dict[str, Any], name: str, spec: ArchitectureSpec) -> None:
    """Raise ModelFileError unless an index names this component's class, and the folder has it."""
    library, classes = spec.components[name]
    found = index.get(name)
    if name == "scheduler" and isinstance(found, list) and found[:1] == ["diffusers"]:
        _check_scheduler(folder, found[-1])
    if isinstance(found, list) and _is_own_code(folder, found[:1]):
        raise ModelFileError(
            f"{folder.name}/model_index.json names program code of its own ({found[0]}.py) as its {name}: it is "
            "never run, so the model cannot be loaded."
        )
    if not (isinstance(found, list) and len(found) == 2 and found[0] == library and found[1] in classes):
        raise ModelFileError(
            f"{folder.name}/model_index.json names {found!r} as its {name}; "
            f"a {index['_class_name']} has {library} {' or '.join(classes[:2])}."
        )
    beside = spec.beside_index.get(name)
    if not (folder / name).is_dir() and not (beside and (folder / beside).is_file()):
        raise ModelFileError(f"{folder.name} has no {name} folder. Download the model again.")


def _is_own_code(folder: Path, module: list[Any]) -> bool:
    """Whether an index entry names a Python file of the folder, as hubs allow."""
    name = module[0] if module else None
    return isinstance(name, str) and name.isidentifier() and len(name) < 100 and (folder / f"{name}.py").is_file()


_ALONE = {
    "UNet2DConditionModel": ("a UNet alone", "unet"),
    "UNet2DModel": ("a UNet alone", "unet"),
    "AutoencoderKL": ("a VAE alone", "vae"),
}


def _no_index(folder: Path) -> ModelFileError:
    """Return the error for a folder without an index: what it holds instead, and what to do."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    named = config.get("_class_name")
    kind = _ALONE.get(named) if isinstance(named, str) else None
    if kind is None:
        return ModelFileError(
            f"{folder.name} has no model_index.json, so it is no model in the diffusers layout, or not all of one. "
            "If it should be one, download it again."
        )
    what, part = kind
    return ModelFileError(
        f"{folder.name} is {what} ({named}), not a whole model. Copy a whole model of its kind, and put these files "
        f"into the copy's {part} folder."
    )


def component_config(folder: Path, component: str, cls: type) -> dict[str, Any]:
    """Read a component's `config.json` and check its keys against the class's own arguments."""
    config = read_json(part_folder(folder, component) / "config.json")
    check_sizes(config, f"{folder.name}/{component}/config.json")
    named = config.get("_class_name", cls.__name__)
    if named != cls.__name__ or "auto_map" in config:
        raise ModelFileError(f"{folder.name}/{component}/config.json is for {named!r}, not {cls.__name__}.")
    config = {k: v for k, v in config.items() if not k.startswith("_")}
    known = inspect.signature(cls).parameters
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ModelFileError(
            f"{folder.name}/{component}/config.json has keys that {cls.__name__} does not know: "
            f"{', '.join(unknown[:5])}. A newer diffusers may know them."
        )
    check_values(config, cls, f"{folder.name}/{component}/config.json")
    if component == "unet" and not _is_size(config.get("sample_size")):
        raise ModelFileError(f"{folder.name}/unet/config.json does not say the model's size (sample_size).")
    return config


def _is_size(value: Any) -> bool:
    """Whether a config value is one side, or height and width, of a picture."""
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(type(side) is int and side > 0 for side in sides)


def text_encoder_config(folder: Path, component: str) -> dict[str, Any]:
    """Read a CLIP text encoder's `config.json`: the keys that describe one, and no others.

    A config class of transformers takes any key, among them some that name code to fetch and run.
    """
    where = f"{folder.name}/{component}"
    config = read_json(folder / component / "config.json")
    check_sizes(config, f"{where}/config.json")
    if config.get("model_type") not in (None, "clip_text_model") or "auto_map" in config:
        raise ModelFileError(f"{where} is a {config.get('model_type')!r}, not a CLIP text encoder.")
    unknown = sorted(k for k in config if k not in _CLIP_KEYS + _CLIP_NOTES and not k.startswith("_"))
    if unknown:
        raise ModelFileError(f"{where}/config.json has keys that no CLIP text encoder has: {', '.join(unknown[:5])}.")
    check_clip_values(config, f"{where}/config.json")
    return {k: config[k] for k in _CLIP_KEYS if k in config}


def scheduler_config(folder: Path) -> dict[str, Any]:
    """Read `scheduler/scheduler_config.json`; its class must be a known one."""
    config = read_json(part_folder(folder, "scheduler") / "scheduler_config.json", endless=True)
    # what diffusers writes for the DPM solvers' own default: the same as leaving it out
    if config.get("lambda_min_clipped") == -math.inf:
        del config["lambda_min_clipped"]
    check_sizes(config, f"{folder.name}/scheduler/scheduler_config.json")
    _check_scheduler(folder, config.get("_class_name"))
    return config


def _check_scheduler(folder: Path, name: Any) -> None:
    try:
        check_scheduler_class(name)
    except ModelFileError as e:
        raise ModelFileError(f"{folder.name}: {e}") from e

"""What a diffusers model folder may name. A library sees a folder only after these checks.

A `model_index.json` can name any class of any library and a config any code file; both come from
strangers. So the pipelines, components, classes and config keys known here are the only ones.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ...core.errors import ModelFileError
from ..formats.limits import check_sizes
from ..formats.weights import read_json
from ..model import Architecture
from .files import model_files, part_folder

_CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
# classes of diffusers whose configs are read; sampling's table (sampling/schedulers.py) runs some of them
SCHEDULER_CLASSES = (
    *("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"),
    *("EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler"),
    *("UniPCMultistepScheduler", "LCMScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
)
# component -> (library, class names)
_COMPONENTS: dict[Architecture, dict[str, tuple[str, tuple[str, ...]]]] = {
    "sdxl": {
        "unet": ("diffusers", ("UNet2DConditionModel",)),
        "vae": ("diffusers", ("AutoencoderKL",)),
        "text_encoder": ("transformers", ("CLIPTextModel",)),
        "text_encoder_2": ("transformers", ("CLIPTextModelWithProjection",)),
        "tokenizer": ("transformers", _CLIP_TOKENIZERS),
        "tokenizer_2": ("transformers", _CLIP_TOKENIZERS),
        "scheduler": ("diffusers", SCHEDULER_CLASSES),
    },
    "sdxl-refiner": {
        "unet": ("diffusers", ("UNet2DConditionModel",)),
        "vae": ("diffusers", ("AutoencoderKL",)),
        "text_encoder_2": ("transformers", ("CLIPTextModelWithProjection",)),
        "tokenizer_2": ("transformers", _CLIP_TOKENIZERS),
        "scheduler": ("diffusers", SCHEDULER_CLASSES),
    },
    "ddpm": {
        "unet": ("diffusers", ("UNet2DModel",)),
        "scheduler": ("diffusers", SCHEDULER_CLASSES),
    },
}
_FLAT = {"unet": "config.json", "scheduler": "scheduler_config.json"}
_PIPELINES: dict[str, Architecture] = {
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "DDPMPipeline": "ddpm",
    "DDIMPipeline": "ddpm",
    "PNDMPipeline": "ddpm",
}
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
    """Check a model folder against the lists above. Returns its architecture and its index.

    Raises ModelFileError saying what the folder is or what it holds that no model should.
    """
    if not folder.is_dir():
        raise ModelFileError(f"There is no model folder {folder.name}. Pick another, or download it again.")
    model_files(folder)
    index = read_json(folder / "model_index.json")
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in _PIPELINES:
        raise ModelFileError(
            f"{folder.name} is a {pipeline!r}; models of the SDXL architecture (StableDiffusionXLPipeline) "
            "and unconditional ones (DDPMPipeline) can be loaded."
        )
    architecture = _PIPELINES[pipeline]
    if architecture == "sdxl" and index.get("text_encoder") == [None, None]:
        architecture = "sdxl-refiner"  # the same pipelines; what tells it is that it has one encoder
    expected = _COMPONENTS[architecture]
    for name, (library, classes) in expected.items():
        found = index.get(name)
        if not (isinstance(found, list) and len(found) == 2 and found[0] == library and found[1] in classes):
            raise ModelFileError(
                f"{folder.name}/model_index.json names {found!r} as its {name}; "
                f"a {pipeline} has {library} {' or '.join(classes[:2])}."
            )
        # the oldest DDPMs have the files of both their parts beside the index
        if not (folder / name).is_dir() and not (architecture == "ddpm" and (folder / _FLAT[name]).is_file()):
            raise ModelFileError(f"{folder.name} has no {name} folder. Download the model again.")
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, (str, dict)):
            raise ModelFileError(f"{folder.name}/model_index.json has the unknown setting {name}: {str(value)[:80]!r}.")
        unused = name.startswith("_") or name in expected or not isinstance(value, list)
        if not unused and value != [None, None]:
            raise ModelFileError(f"{folder.name}/model_index.json names an unknown component {name}: {value!r}.")
    return architecture, index


def component_config(folder: Path, component: str, cls: type) -> dict[str, Any]:
    """Read a component's `config.json` and check its keys against the class's own arguments."""
    config = read_json(part_folder(folder, component) / "config.json")
    check_sizes(config, f"{folder.name}/{component}/config.json")
    named = config.get("_class_name", cls.__name__)
    if named != cls.__name__ or "auto_map" in config:
        raise ModelFileError(f"{folder.name}/{component}/config.json is for {named!r}, not {cls.__name__}.")
    config = {k: v for k, v in config.items() if not k.startswith("_")}
    known = inspect.signature(cls.__init__).parameters
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ModelFileError(
            f"{folder.name}/{component}/config.json has keys that {cls.__name__} does not know: "
            f"{', '.join(unknown[:5])}. A newer diffusers may know them."
        )
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
    return {k: config[k] for k in _CLIP_KEYS if k in config}


def scheduler_config(folder: Path) -> dict[str, Any]:
    """Read `scheduler/scheduler_config.json`; its class must be a known one."""
    config = read_json(part_folder(folder, "scheduler") / "scheduler_config.json")
    check_sizes(config, f"{folder.name}/scheduler/scheduler_config.json")
    if config.get("_class_name") not in SCHEDULER_CLASSES:
        raise ModelFileError(
            f"{folder.name} has the scheduler {config.get('_class_name')!r}, whose noise schedule is not "
            f"known here. Known: {', '.join(SCHEDULER_CLASSES)}."
        )
    return config

"""What a diffusers model folder may name. A library sees a folder only after these checks.

A `model_index.json` can name any class of any library and a config any code file; both come from
strangers. So the pipelines, components, classes and config keys known here are the only ones.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from .errors import ModelFileError
from .model import Architecture
from .weights import read_json

_CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
_SCHEDULERS = (
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
        "scheduler": ("diffusers", _SCHEDULERS),
    },
    "ddpm": {
        "unet": ("diffusers", ("UNet2DModel",)),
        "scheduler": ("diffusers", _SCHEDULERS),
    },
}
_PIPELINES: dict[str, Architecture] = {
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "DDPMPipeline": "ddpm",
    "DDIMPipeline": "ddpm",
    "PNDMPipeline": "ddpm",
}
_MAX_FILES = 200


def check_folder(folder: Path) -> tuple[Architecture, dict[str, Any]]:
    """Check a model folder against the lists above. Returns its architecture and its index.

    Raises ModelFileError saying what the folder is or what it holds that no model should.
    """
    if not folder.is_dir():
        raise ModelFileError(f"There is no model folder {folder.name}. Pick another, or download it again.")
    _refuse_code(folder)
    index = read_json(folder / "model_index.json")
    pipeline = index.get("_class_name")
    if pipeline not in _PIPELINES:
        raise ModelFileError(
            f"{folder.name} is a {pipeline!r}; models of the SDXL architecture (StableDiffusionXLPipeline) "
            "and unconditional ones (DDPMPipeline) can be loaded."
        )
    architecture = _PIPELINES[pipeline]
    expected = _COMPONENTS[architecture]
    for name, (library, classes) in expected.items():
        found = index.get(name)
        if not (isinstance(found, list) and len(found) == 2 and found[0] == library and found[1] in classes):
            raise ModelFileError(
                f"{folder.name}/model_index.json names {found!r} as its {name}; "
                f"a {pipeline} has {library} {' or '.join(classes[:2])}."
            )
        if not (folder / name).is_dir():
            raise ModelFileError(f"{folder.name} has no {name} folder. Download the model again.")
    for name, value in index.items():
        unused = name.startswith("_") or name in expected or not isinstance(value, list)
        if not unused and value != [None, None]:
            raise ModelFileError(f"{folder.name}/model_index.json names an unknown component {name}: {value!r}.")
    return architecture, index


def _refuse_code(folder: Path) -> None:
    files = []
    for path in folder.rglob("*"):
        files.append(path)
        if len(files) > _MAX_FILES:
            raise ModelFileError(f"{folder.name} holds more than {_MAX_FILES} files: no model folder does.")
        if path.suffix.lower() in (".py", ".pyc", ".so", ".dll", ".dylib"):
            raise ModelFileError(
                f"{folder.name} holds program code ({path.name}). Models are weights and configs only; "
                "remove that file if you trust the rest."
            )


def component_config(folder: Path, component: str, cls: type) -> dict[str, Any]:
    """Read a component's `config.json` and check its keys against the class's own arguments."""
    config = read_json(folder / component / "config.json")
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
    return config


def scheduler_config(folder: Path) -> dict[str, Any]:
    """Read `scheduler/scheduler_config.json`; its class must be a known one."""
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    if config.get("_class_name") not in _SCHEDULERS:
        raise ModelFileError(
            f"{folder.name} has the scheduler {config.get('_class_name')!r}, whose noise schedule is not "
            f"known here. Known: {', '.join(_SCHEDULERS)}."
        )
    return config

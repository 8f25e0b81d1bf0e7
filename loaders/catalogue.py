"""The models known by name: what they are, under which licence, and the command that downloads each.

Data for messages, help pages and workflows. Nothing here downloads anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from .architecture import Architecture

_FOLDERS = "ComfyUI/models/diffusers"
_FILES = "ComfyUI/models/checkpoints"
_LORAS = "ComfyUI/models/loras"

_TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json")
_REFINER_FILES = (
    *("model_index.json", "scheduler/scheduler_config.json"),
    *("unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"),
    *("vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"),
    *("text_encoder_2/config.json", "text_encoder_2/model.fp16.safetensors"),
    *(f"tokenizer_2/{name}" for name in _TOKENIZER),
)
_SDXL_FILES = (
    *_REFINER_FILES,
    *("text_encoder/config.json", "text_encoder/model.fp16.safetensors"),
    *(f"tokenizer/{name}" for name in _TOKENIZER),
)
_DDPM_FILES = ("model_index.json", "config.json", "scheduler_config.json", "diffusion_pytorch_model.bin")

_TURBO_LICENCE = "Stability AI's own (sai-nc-community)"  # as its card names it: the text has changed since
_PLAYGROUND = "Playground v2 Community License"
_RAIL = "CreativeML Open RAIL++-M"
_APACHE = "Apache-2.0"


@dataclass(frozen=True)
class KnownModel:
    """One model, in one of the forms it is published in.

    Attributes:
        name: what Load Taste Model lists once it is there: a folder's name, or a file's with its ending.
        repository: on huggingface.co; empty for what ships with the pack.
        licence: its licence's name. Read it before you use what the model makes.
        native_size: pixels along one side of the pictures it was trained on.
        guidance_scale: what its makers recommend, or diffusers' own default; None for unconditional ones.
        scheduler: the class of its own scheduler.
        gigabytes: of the files named here.
        files: what to download; empty: everything in the repository.
    """

    name: str
    repository: str
    architecture: Architecture
    licence: str
    native_size: int
    guidance_scale: float | None
    scheduler: str
    gigabytes: float
    files: tuple[str, ...] = ()

    @property
    def ships(self) -> bool:
        """Whether it comes with the pack."""
        return not self.repository

    @property
    def single_file(self) -> bool:
        return self.name.endswith(".safetensors")

    @property
    def command(self) -> str:
        """The command that downloads it to where the host looks; empty for what ships with the pack."""
        if self.ships:
            return ""
        place = _FILES if self.single_file else f"{_FOLDERS}/{self.name}"
        return " ".join(["hf download", self.repository, *self.files, "--local-dir", place])


@dataclass(frozen=True)
class KnownLora:
    """A LoRA file that a workflow of ours asks for: `name` is what Load Taste LoRA lists once it is there."""

    name: str
    repository: str
    licence: str
    gigabytes: float
    ships = False

    @property
    def command(self) -> str:
        return f"hf download {self.repository} {self.name} --local-dir {_LORAS}"


def _playground(name: str, size: int) -> KnownModel:
    scheduler = "EulerAncestralDiscreteScheduler"
    return KnownModel(name, f"playgroundai/{name}", "sdxl", _PLAYGROUND, size, 3.0, scheduler, 6.9, _SDXL_FILES)


def _ddpm(name: str, repository: str, files: tuple[str, ...]) -> KnownModel:
    return KnownModel(name, repository, "ddpm", _APACHE, 256, None, "DDPMScheduler", 0.46, files)


def _lightning(name: str) -> KnownModel:
    return KnownModel(name, "ByteDance/SDXL-Lightning", "sdxl", _RAIL, 1024, 1.0, _EULER, 6.9, (name,))


_SDXL, _REFINER = "stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/stable-diffusion-xl-refiner-1.0"
_EULER, _ANCESTRAL = "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"
_P2, _P2_FILE = "playgroundai/playground-v2-1024px-aesthetic", "playground-v2.fp16.safetensors"
_P2_FULL = "playground-v2.safetensors"
_TURBO, _TURBO_FILE = "stabilityai/sdxl-turbo", "sd_xl_turbo_1.0_fp16.safetensors"
_SDXL_FILE, _REFINER_FILE = "sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors"

KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel("tiny-sdxl", "", "sdxl", _APACHE, 64, 4.0, _ANCESTRAL, 0.014),
    KnownModel("tiny-ddpm", "", "ddpm", _APACHE, 64, None, "DDPMScheduler", 0.006),
    _playground("playground-v2-1024px-aesthetic", 1024),
    KnownModel(_P2_FILE, _P2, "sdxl", _PLAYGROUND, 1024, 3.0, _ANCESTRAL, 6.9, (_P2_FILE,)),
    KnownModel(_P2_FULL, _P2, "sdxl", _PLAYGROUND, 1024, 3.0, _ANCESTRAL, 13.9, (_P2_FULL,)),
    _playground("playground-v2-512px-base", 512),
    _playground("playground-v2-256px-base", 256),
    KnownModel("stable-diffusion-xl-base-1.0", _SDXL, "sdxl", _RAIL, 1024, 5.0, _EULER, 6.9, _SDXL_FILES),
    KnownModel(_SDXL_FILE, _SDXL, "sdxl", _RAIL, 1024, 5.0, _EULER, 6.9, (_SDXL_FILE,)),
    KnownModel(
        "stable-diffusion-xl-refiner-1.0", _REFINER, "sdxl-refiner", _RAIL, 1024, 5.0, _EULER, 6.1, _REFINER_FILES
    ),
    KnownModel(_REFINER_FILE, _REFINER, "sdxl-refiner", _RAIL, 1024, 5.0, _EULER, 6.1, (_REFINER_FILE,)),
    KnownModel("sdxl-turbo", _TURBO, "sdxl", _TURBO_LICENCE, 512, 1.0, _ANCESTRAL, 6.9, _SDXL_FILES),
    KnownModel(_TURBO_FILE, _TURBO, "sdxl", _TURBO_LICENCE, 512, 1.0, _ANCESTRAL, 6.9, (_TURBO_FILE,)),
    *(_lightning(f"sdxl_lightning_{steps}.safetensors") for steps in ("1step_x0", "2step", "4step", "8step")),
    _ddpm("ddpm-church-256", "google/ddpm-church-256", _DDPM_FILES),
    _ddpm("ddpm-celebahq-256", "google/ddpm-celebahq-256", _DDPM_FILES),
    _ddpm("ddpm-bedroom-256", "google/ddpm-bedroom-256", _DDPM_FILES),
    _ddpm("ddpm-ema-bedroom-256", "google/ddpm-ema-bedroom-256", _DDPM_FILES),
    _ddpm("ddpo-aesthetic-church-256", "alkzar90/ddpo-aesthetic-church-256", ()),
)

KNOWN_LORAS: tuple[KnownLora, ...] = (KnownLora("sd_xl_offset_example-lora_1.0.safetensors", _SDXL, _RAIL, 0.05),)


def known_model(name: str) -> KnownModel | None:
    """Return the model of that name, also when it is in a sub-folder; None for one that is not known."""
    return next((model for model in KNOWN_MODELS if model.name.lower() == _last(name)), None)


def known_lora(name: str) -> KnownLora | None:
    """Return the LoRA of that name, also when it is in a sub-folder; None for one that is not known."""
    return next((lora for lora in KNOWN_LORAS if lora.name.lower() == _last(name)), None)


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()


def how_to_get(name: str) -> str:
    """Return a sentence with the command that downloads a known model or LoRA; empty for one that is not known."""
    model = known_model(name) or known_lora(name)
    if model is None or model.ships:
        return ""
    size = f"{model.gigabytes:g} GB, {model.licence}"
    return f"To get it ({size}), run this beside the ComfyUI folder, then reload the page: {model.command}"


def missing_model_entry(name: str) -> dict[str, str] | None:
    """Return what a load node's `properties.models` says of a known single file, so that the host offers to get it.

    None for folders and for what ships with the pack: the host can offer single files only.
    """
    model, lora = known_model(name), known_lora(name)
    if lora is not None:
        return _entry(lora.name, lora.repository, "loras")
    if model is None or not model.single_file:
        return None
    return _entry(model.name, model.repository, "checkpoints")


def _entry(name: str, repository: str, directory: str) -> dict[str, str]:
    url = f"https://huggingface.co/{repository}/resolve/main/{name}"
    return {"name": name, "url": url, "directory": directory}


def models_table() -> str:
    """Return the catalogue as a Markdown table, for help pages."""
    lines = ["| model | pixels | guidance | own scheduler | size | licence |", "|---|---|---|---|---|---|"]
    for model in KNOWN_MODELS:
        size = "with the pack" if model.ships else f"{model.gigabytes:g} GB"
        guidance = "none" if model.guidance_scale is None else f"{model.guidance_scale:g}"
        scheduler = model.scheduler.removesuffix("Scheduler")
        cells = [f"`{model.name}`", str(model.native_size), guidance, scheduler, size, model.licence]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def commands() -> str:
    """Return the download commands of the catalogue, one a line."""
    return "\n".join(model.command for model in KNOWN_MODELS if not model.ships)

"""Official files of other people's models: what each consists of, as published, and what must come of it here.

One `Official` a model, in `MODELS`. A test writes the files of an entry (small or full-size, `make.py`), opens them
through the product's own doors and holds the result against `expected`. Rewards and LoRAs are entries of other kinds:
what a kind's `files` and `expected` mean is said beside the tests of that kind.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = Path(__file__).resolve().parent / "files"
Json = dict[str, Any]


@dataclass(frozen=True)
class Official:
    """One published model, in one of the forms it is published in.

    Attributes:
        name: the folder's or file's name, as users have it.
        kind: "folder" (a diffusers folder) or "file" (a single file in the original layout).
        repository: where it is published, on huggingface.co.
        licence: of what `files` copies or quotes.
        files: path in the folder -> its JSON as published. Empty for files without any.
        weights: path -> bytes as published; for a single file its own name.
        tensors: of a single file: name -> shape of every tensor, as published.
        notes: of a single file: `__metadata__`, as far as it is known.
        extra: path -> bytes of other files that lie beside, such as program code.
        expected: what loading it must give; `refused` is a pattern of the refusal instead.
    """

    name: str
    kind: str
    repository: str
    licence: str
    files: Mapping[str, Json] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, bytes] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)


def published(folder: str) -> dict[str, Json]:
    """Path -> content of every JSON file of a published folder that is copied here."""
    root = FILES / folder
    return {p.relative_to(root).as_posix(): json.loads(p.read_text()) for p in sorted(root.rglob("*.json"))}


def tensors(name: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a published single file."""
    listed = json.loads(gzip.decompress((FILES / f"{name}.names.json.gz").read_bytes()))
    return {tensor: tuple(shape) for tensor, shape in listed.items()}


_RAIL, _APACHE, _PLAYGROUND = "CreativeML Open RAIL++-M", "Apache-2.0", "Playground v2 Community License"
_BASE, _REFINER = published("sdxl-base-1.0"), published("sdxl-refiner-1.0")
_BASE_NAMES, _REFINER_NAMES = tensors("sd_xl_base_1.0"), tensors("sd_xl_refiner_1.0")
_HALF_UNET, _HALF_VAE = (
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
)
_HALF_L, _HALF_G = "text_encoder/model.fp16.safetensors", "text_encoder_2/model.fp16.safetensors"
_SDXL_WEIGHTS = {_HALF_UNET: 5135149760, _HALF_VAE: 167335342, _HALF_L: 246144152, _HALF_G: 1389382176}
_REFINER_WEIGHTS = {_HALF_UNET: 4519210760, _HALF_VAE: 167335342, _HALF_G: 1389382176}
_SDXL_EXPECTED = {
    **{"architecture": "sdxl", "native_size": (1024, 1024), "zero_empty_prompt": True, "latent_scale": 0.13025},
    **{"prediction_type": "epsilon", "timestep_spacing": "leading", "scheduler": "euler", "zero_snr": False},
    "timesteps_of_4": (751, 501, 251, 1),
}
_REFINER_EXPECTED = _SDXL_EXPECTED | {"architecture": "sdxl-refiner", "zero_empty_prompt": False}
_FEW_STEPS = _SDXL_EXPECTED | {"timestep_spacing": "trailing", "timesteps_of_4": (999, 749, 499, 249)}

# Playground v2: facts of its configs, as they differ from SDXL base's
_PLAYGROUND_FILES = {
    **_BASE,
    "model_index.json": {
        **{k: v for k, v in _BASE["model_index.json"].items() if k != "add_watermarker"},
        **{"_diffusers_version": "0.24.0", "feature_extractor": [None, None], "image_encoder": [None, None]},
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
    },
    "scheduler/scheduler_config.json": {
        **_BASE["scheduler/scheduler_config.json"],
        **{"_class_name": "EulerAncestralDiscreteScheduler", "_diffusers_version": "0.25.0.dev0"},
        **{"sigma_min": None, "sigma_max": None, "timestep_type": "discrete"},
    },
    "unet/config.json": {
        **_BASE["unet/config.json"],
        **{"_diffusers_version": "0.24.0", "attention_type": "default", "dropout": 0.0},
        **{"reverse_transformer_layers_per_block": None, "upcast_attention": False},
    },
    "vae/config.json": {k: v for k, v in _BASE["vae/config.json"].items() if k != "_name_or_path"},
}
_PLAYGROUND_25 = {
    **_PLAYGROUND_FILES,
    "model_index.json": {
        **_PLAYGROUND_FILES["model_index.json"],
        "scheduler": ["diffusers", "EDMDPMSolverMultistepScheduler"],
    },
    "scheduler/scheduler_config.json": {
        **{"_class_name": "EDMDPMSolverMultistepScheduler", "_diffusers_version": "0.27.0.dev0"},
        **{"algorithm_type": "dpmsolver++", "euler_at_final": False, "final_sigmas_type": "zero", "rho": 7.0},
        **{"num_train_timesteps": 1000, "prediction_type": "epsilon", "sigma_data": 0.5, "sigma_max": 80.0},
        **{"sigma_min": 0.002, "solver_order": 2, "solver_type": "midpoint", "thresholding": False},
    },
}
_PLAYGROUND_EXPECTED = _SDXL_EXPECTED | {"scheduler": "euler_ancestral"}
_G = "conditioner.embedders.1.model."
_PLAYGROUND_NAMES = {  # its projection is a linear layer's, (out, in): square here, so only the name tells
    (f"{_G}text_projection.weight" if name == f"{_G}text_projection" else name): shape
    for name, shape in _BASE_NAMES.items()
}
_DDPM_EXPECTED = {
    **{"architecture": "ddpm", "prediction_type": "epsilon", "timestep_spacing": "leading", "scheduler": "ddpm"},
    **{"zero_snr": False, "clip_sample": True, "timesteps_of_4": (750, 500, 250, 0)},
}


def _file(name: str, repository: str, licence: str, size: int, **changes: Any) -> Official:
    expected = changes.pop("expected", _SDXL_EXPECTED)
    shapes = changes.pop("tensors", _BASE_NAMES)
    return Official(name, "file", repository, licence, {}, {name: size}, shapes, expected=expected, **changes)


def _ddpm(name: str, repository: str, folder: str, size: int, **changes: Any) -> Official:
    weights = {changes.pop("weights", "diffusion_pytorch_model.bin"): changes.pop("bytes", 0)}
    expected = _DDPM_EXPECTED | {"native_size": (size, size)}
    return Official(name, "folder", repository, _APACHE, published(folder), weights, expected=expected, **changes)


_STABILITY, _LIGHTNING = "stabilityai", "ByteDance/SDXL-Lightning"
_CODE = {"modeling_ddpm.py": b"raise SystemExit('this file must never be run')\n"}
MODELS: tuple[Official, ...] = (
    Official(
        *("stable-diffusion-xl-base-1.0", "folder", f"{_STABILITY}/stable-diffusion-xl-base-1.0", _RAIL, _BASE),
        weights=_SDXL_WEIGHTS,
        expected=_SDXL_EXPECTED,
    ),
    Official(
        *("stable-diffusion-xl-refiner-1.0", "folder", f"{_STABILITY}/stable-diffusion-xl-refiner-1.0", _RAIL),
        files=_REFINER,
        weights=_REFINER_WEIGHTS,
        expected=_REFINER_EXPECTED,
    ),
    Official(
        *("playground-v2-1024px-aesthetic", "folder", "playgroundai/playground-v2-1024px-aesthetic", _PLAYGROUND),
        files=_PLAYGROUND_FILES,
        weights=_SDXL_WEIGHTS,
        expected=_PLAYGROUND_EXPECTED,
    ),
    Official(  # whether its unet/config.json says 64 or 128 is not known: the name decides
        *("playground-v2-512px-base", "folder", "playgroundai/playground-v2-512px-base", _PLAYGROUND),
        files=_PLAYGROUND_FILES,
        expected=_PLAYGROUND_EXPECTED | {"native_size": (512, 512)},
    ),
    Official(
        *("playground-v2.5-1024px-aesthetic", "folder", "playgroundai/playground-v2.5-1024px-aesthetic", _PLAYGROUND),
        files=_PLAYGROUND_25,
        expected={"refused": r"EDM's scaling \(Playground v2\.5\) are not supported"},
    ),
    _file("sd_xl_base_1.0.safetensors", f"{_STABILITY}/stable-diffusion-xl-base-1.0", _RAIL, 6938078334),
    _file(
        *("sd_xl_refiner_1.0.safetensors", f"{_STABILITY}/stable-diffusion-xl-refiner-1.0", _RAIL, 6075981930),
        tensors=_REFINER_NAMES,
        expected=_REFINER_EXPECTED,
    ),
    _file(
        *("playground-v2.fp16.safetensors", "playgroundai/playground-v2-1024px-aesthetic", _PLAYGROUND, 6938042488),
        tensors=_PLAYGROUND_NAMES,
        expected=_PLAYGROUND_EXPECTED,
    ),
    _file(
        *("sd_xl_turbo_1.0_fp16.safetensors", f"{_STABILITY}/sdxl-turbo", "facts only", 0),
        expected=_FEW_STEPS | {"scheduler": "euler_ancestral", "native_size": (512, 512)},
    ),
    _file("sdxl_lightning_4step.safetensors", _LIGHTNING, "facts only", 0, expected=_FEW_STEPS),
    _file(
        *("sdxl_lightning_1step_x0.safetensors", _LIGHTNING, "facts only", 0),
        expected=_FEW_STEPS | {"prediction_type": "sample"},
    ),
    _ddpm("ddpm-cat-256", "google/ddpm-cat-256", "google-ddpm-cat-256", 256),
    _ddpm("ddpm-church-256", "google/ddpm-church-256", "google-ddpm-church-256", 32),
    _ddpm("ddpm-cifar10-32", "google/ddpm-cifar10-32", "google-ddpm-cifar10-32", 32),
    _ddpm("ddpm-ema-bedroom-256", "google/ddpm-ema-bedroom-256", "google-ddpm-ema-bedroom-256", 32, extra=_CODE),
    _ddpm(*("ddpo-aesthetic-church-256", "alkzar90/ddpo-aesthetic-church-256", "alkzar-ddpo-aesthetic-church-256", 32)),
    _ddpm(
        *("ddpm-butterflies-128", "khuongsatou/ddpm-butterflies-128", "ddpm-butterflies-128", 128),
        weights="unet/diffusion_pytorch_model.safetensors",
        bytes=454_741_132,
    ),
)

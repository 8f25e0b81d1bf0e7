"""Official models written to disk: narrow with random weights, or at full size with a hole in place of the weights.

Configs are those of the manifest, and only what makes a model large is changed for the narrow ones.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from scripts.full_size.official import build, original_state
from tests.conftest import ROOT
from tests.loaders import original_files
from tests.loaders.test_weights import old_names
from tests.official.manifest import Json, Official

_TOKENIZER = ROOT / "assets" / "clip-tokenizer"
_UNET_WIDTHS = (
    *("block_out_channels", "attention_head_dim", "cross_attention_dim", "transformer_layers_per_block"),
    *("addition_time_embed_dim", "projection_class_embeddings_input_dim"),
)
_TEXT_WIDTHS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "projection_dim")
_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_TEXT = ("text_encoder", "text_encoder_2")


def narrow(official: Official) -> dict[str, Json]:
    """The published configs with small widths. Everything else stays, unknown keys too."""
    files = dict(official.files)
    if is_ddpm(official):
        place = _config(files, "unet")
        wide = files[place]["block_out_channels"]
        if max(wide) > 64:  # some are narrow as they are copied here
            files[place] = files[place] | {"block_out_channels": [32 if w < 256 else 64 for w in wide]}
        return files
    small = original_files.UNET if "text_encoder/config.json" in files else original_files.REFINER_UNET
    files["unet/config.json"] = files["unet/config.json"] | {key: small[key] for key in _UNET_WIDTHS}
    files["vae/config.json"] = files["vae/config.json"] | {"block_out_channels": [32, 32, 64, 64]}
    for name, widths in zip(_TEXT, (original_files.CLIP_L, original_files.CLIP_G), strict=True):
        if f"{name}/config.json" in files:
            changed = {key: widths[key] for key in _TEXT_WIDTHS}
            files[f"{name}/config.json"] = files[f"{name}/config.json"] | changed
    return files


def is_ddpm(official: Official) -> bool:
    return official.files.get("model_index.json", {}).get("_class_name") == "DDPMPipeline"


def modules(files: Mapping[str, Json]) -> dict[str, torch.nn.Module]:
    """The modules that these configs describe, by diffusers and transformers themselves."""
    if "config.json" in files or "text_encoder_2/config.json" not in files:
        from diffusers import UNet2DModel

        config = files[_config(files, "unet")]
        return {"unet": UNet2DModel(**{k: v for k, v in config.items() if not k.startswith("_")})}
    parts = ("unet", "vae", *(name for name in _TEXT if f"{name}/config.json" in files))
    configs = {name: files[f"{name}/config.json"] for name in parts}
    return build({name: {k: v for k, v in config.items() if k[0] != "_"} for name, config in configs.items()})


def random_modules(files: Mapping[str, Json]) -> dict[str, torch.nn.Module]:
    """The same with random weights that are always the same, exact in float16."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        made = modules(files)
        for module in made.values():
            for parameter in module.parameters():  # norms are 1 and biases 0 otherwise: swaps would not show
                parameter.data = (torch.randn_like(parameter) * 0.05).half().float()
    return {name: module.eval().requires_grad_(False) for name, module in made.items()}


def write_folder(official: Official, folder: Path) -> dict[str, torch.nn.Module]:
    """Write the narrow form of a published folder, under its file names. Returns what its weights are."""
    files = narrow(official)
    write_configs(official, files, folder)
    made = random_modules(files)
    for name, module in made.items():
        path = folder / weight_path(official, name)
        path.parent.mkdir(exist_ok=True)
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        if path.suffix == ".bin":
            torch.save(old_names(state), path)
        else:
            half = ".fp16." in path.name
            save_file({k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}, path)
    return made


def write_file(official: Official, folder: Path, base: Official) -> dict[str, torch.nn.Module]:
    """Write the narrow form of a published single file; `base` is the folder that has the same parts."""
    made = random_modules(narrow(base))
    state = original_state(made)
    g = "conditioner.embedders.1.model.text_projection"
    if f"{g}.weight" in official.tensors:
        state[f"{g}.weight"] = state.pop(g).T
    state = {name: tensor.half().contiguous() for name, tensor in state.items()}
    save_file(state, folder / official.name, metadata=dict(official.notes) or None)
    return made


def write_full_size(official: Official, folder: Path) -> dict[str, Path]:
    """Write a published model at full size: true configs, true names and shapes, and no data. Path by component."""
    if official.kind == "file":
        return {"": write_hollow(folder / official.name, official.tensors)}
    write_configs(official, official.files, folder)
    with torch.device("meta"):
        made = modules(official.files)
    paths = {}
    for name, module in made.items():
        shapes = {k: tuple(v.shape) for k, v in module.state_dict().items() if not k.endswith("position_ids")}
        path = folder / weight_path(official, name)
        path.parent.mkdir(exist_ok=True)
        paths[name] = write_hollow(path, shapes, width=2 if ".fp16." in path.name else 4)
    return paths


def write_hollow(path: Path, shapes: Mapping[str, tuple[int, ...]], *, width: int = 2) -> Path:
    """A safetensors file of these names and shapes in 16 or 32 bits whose data is a hole: it takes no room."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = width * torch.Size(shape).numel()
        entries[name] = {"dtype": f"F{8 * width}", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + at)
    return path


def weight_path(official: Official, component: str) -> str:
    """Where a component's weights are in the published folder."""
    known = [path for path in official.weights if path.partition("/")[0] == component or "/" not in path]
    if known:
        return known[0]
    return f"{component}/{_STEMS.get(component, 'model')}.fp16.safetensors"


def _config(files: Mapping[str, Any], component: str) -> str:
    """The oldest DDPMs have their configs beside the index."""
    return f"{component}/config.json" if f"{component}/config.json" in files else "config.json"


def write_configs(official: Official, files: Mapping[str, Json], folder: Path) -> None:
    for place, content in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2))
        if path.name == "tokenizer_config.json":
            for name in ("vocab.json", "merges.txt"):
                shutil.copy(_TOKENIZER / name, path.parent / name)
    for place, data in official.extra.items():
        (folder / place).write_bytes(data)

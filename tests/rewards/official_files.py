"""Small models in the official files' layouts, for tests of the rewards that read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from tastemaker.loaders.formats.weights import read_safetensors
from tests.conftest import GOLDENS

GOLDEN = json.loads((GOLDENS / "imagereward_tiny.json").read_text(encoding="utf-8"))
PICTURES = [GOLDENS / name for name in GOLDEN["rewards"][""]]
PROMPTS = [prompt for prompt in GOLDEN["rewards"] if prompt]
HEAD = GOLDENS / "sac+logos+ava1-l14-linearMSE.pth"

SMALL_CLIP = {
    "model_type": "clip",
    "projection_dim": 48,
    "vision_config": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "image_size": 224,
        "patch_size": 14,
    },
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "hidden_act": "gelu",
    },
}


def golden_state() -> dict[str, torch.Tensor]:
    """The official state dict of the small ImageReward that the goldens were computed with."""
    return read_safetensors(GOLDENS / "imagereward_tiny.safetensors")


def write_sizes(folder: Path, stem: str) -> None:
    (folder / "med_config.json").write_text(json.dumps(GOLDEN["config"]["med"]), encoding="utf-8")
    (folder / f"{stem}.json").write_text(json.dumps({"vit": GOLDEN["config"]["vit"]}), encoding="utf-8")


def imagereward_folder(folder: Path) -> Path:
    """A folder as the official download leaves it: `ImageReward.pt` and `med_config.json`."""
    torch.save(golden_state(), folder / "ImageReward.pt")
    write_sizes(folder, "ImageReward")
    return folder


def blip_folder(folder: Path) -> Path:
    """`model_large.pth`: the state under "model", with the pretraining's other tensors beside it."""
    state = {k.removeprefix("blip."): v for k, v in golden_state().items() if k.startswith("blip.")}
    momentum = {k.replace("visual_encoder.", "visual_encoder_m."): v for k, v in state.items()}
    extra = {"temp": torch.tensor(0.07), "image_queue": torch.zeros(4, 4), "queue_ptr": torch.zeros(1).long()}
    extra |= {"itm_head.weight": torch.zeros(2, 2), "text_decoder.cls.bias": torch.zeros(2)}
    torch.save({"model": {**state, **momentum, **extra}, "epoch": 3}, folder / "model_large.pth")
    write_sizes(folder, "model_large")
    return folder


def small_clip(act: str = "gelu", **projection: int) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A small random CLIP of transformers' class in float32, and its config.json."""
    from transformers import CLIPConfig, CLIPModel

    config = json.loads(json.dumps({**SMALL_CLIP, **projection}))
    for tower in ("vision_config", "text_config"):
        config[tower]["hidden_act"] = act
    torch.manual_seed(0)
    text = {**config["text_config"], "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}
    model = CLIPModel(CLIPConfig(**{**config, "text_config": text})).eval()
    for parameter in model.parameters():  # transformers' tiny beginnings would make all pictures alike
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.08)
    return model, config


def clip_folder(folder: Path, model: torch.nn.Module, config: dict[str, Any]) -> Path:
    """A folder as transformers writes one."""
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return folder


def aesthetic_folder(folder: Path, model: torch.nn.Module, config: dict[str, Any]) -> Path:
    """LAION's own head beside a CLIP folder."""
    clip_folder(folder / "clip-vit-large-patch14", model, config)
    shutil.copy(HEAD, folder / HEAD.name)
    return folder

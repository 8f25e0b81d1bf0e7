"""Small models under the names and in the layout of large ones, made from tiny-sdxl.

For tests and for the templates' pictures: a machine without Playground v2 or SDXL can then run the graphs that
ask for them. They are made on the spot and never shipped.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tastemaker.core.assets import asset_folder

PLAYGROUND = "playground-v2-1024px-aesthetic"  # diffusers folder
REFINER = "stable-diffusion-xl-refiner-1.0"  # diffusers folder
LORA = "sd_xl_offset_example-lora_1.0.safetensors"
CHECKPOINT_NODE = "TestTinyCheckpoint"  # of checkpoint_pack.py
SMALL = 64  # pixels along a side: the size of what stands in; a known name would ask for its own
LORA_RANK, LORA_SIZE = 4, 1.5
SWAPS = {
    "playground-v2.fp16.safetensors": PLAYGROUND,
    "sd_xl_base_1.0.safetensors": "tiny-sdxl",
    "sd_xl_refiner_1.0.safetensors": REFINER,
    "imagereward-v1.0": "tiny-imagereward",
}
OWN_PROMPT = "a small yellow star at the top of a purple background"
PROMPT = "a large red heart on a blue background\na small yellow star on a purple background"


def with_stand_ins(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a workflow that asks for small models, pictures of their own size, and prompts they know.

    One that asks for no large model is copied as it is.
    """
    swapped = copy.deepcopy(workflow)
    if not any(value in SWAPS for node in swapped["nodes"] for value in node.get("widgets_values", [])):
        return swapped
    for node in swapped["nodes"]:
        values = node.get("widgets_values", [])
        if node["type"] == "TastemakerLoadModel":
            values[0] = SWAPS.get(values[0], values[0])
        elif node["type"] == "CheckpointLoaderSimple":
            node["type"] = CHECKPOINT_NODE
        elif node["type"] == "TastemakerLoadReward":
            values[0] = SWAPS.get(values[0], values[0])
        elif node["type"] == "CLIPTextEncode":
            values[0] = "" if node["title"].startswith("Negative") else OWN_PROMPT
        elif node["type"] == "EmptyLatentImage":
            values[:2] = [2 * SMALL, 2 * SMALL]  # it divides by 8, and tiny-sdxl's VAE by 4
        elif node["type"] == "KSampler":
            values[3] = 2.0  # cfg
        elif node["type"] == "TastemakerPrompts":
            values[0] = PROMPT
        elif node["type"] == "TastemakerSample":
            values[-3:-1] = [SMALL, SMALL]  # height and width, before denoise
        elif node["type"] == "ImageStitch":
            values[2] = 2  # pixels between the two
    return swapped


def write_stand_ins(models: Path) -> None:
    """Write those that are not there yet into a host's `models` folder."""
    for path, write in (
        (models / "diffusers" / PLAYGROUND, write_playground),
        (models / "diffusers" / REFINER, write_refiner),
        (models / "loras" / LORA, write_lora),
    ):
        if not path.exists():
            write(path)


def write_nodes(custom_nodes: Path) -> None:
    """Write the node that stands in for core's checkpoint loader. Before the host starts."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "checkpoint_pack.py", custom_nodes)


def write_playground(folder: Path) -> None:
    """tiny-sdxl has the layout of Playground v2 already."""
    shutil.copytree(asset_folder("tiny-sdxl"), folder)


def write_refiner(folder: Path) -> None:
    """tiny-sdxl as a refiner: the second text encoder only, five size numbers, the last of them the score.

    Its UNet attends to the second encoder's features with what it learned for them. What it learned of
    the two target sizes, always 64, goes into a bias; the aesthetic score changes nothing.
    """
    shutil.copytree(
        asset_folder("tiny-sdxl"), folder, ignore=lambda d, names: {"text_encoder", "tokenizer"} & set(names)
    )
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index |= {"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True}
    index |= {"text_encoder": [None, None], "tokenizer": [None, None], "force_zeros_for_empty_prompt": False}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")

    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    second = json.loads((folder / "text_encoder_2" / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    first, width = config["cross_attention_dim"] - second, config["addition_time_embed_dim"]
    config |= {"cross_attention_dim": second, "projection_class_embeddings_input_dim": second + 5 * width}
    (folder / "unet" / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")

    path = next((folder / "unet").glob("*.safetensors"))
    state = load_file(path)
    for key in state:
        if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            state[key] = state[key][:, first:].contiguous()
    weight, bias = state["add_embedding.linear_1.weight"].float(), state["add_embedding.linear_1.bias"].float()
    targets = weight[:, -2 * width :] @ _size_embedding(64.0, width).repeat(2)
    weight = weight[:, :-width].clone()
    weight[:, -width:] = 0.0
    state["add_embedding.linear_1.weight"] = weight.half()
    state["add_embedding.linear_1.bias"] = (bias + targets).half()
    path.unlink()
    save_file(state, path)


def _size_embedding(number: float, width: int) -> torch.Tensor:
    """(width,) as SDXL's UNet embeds a size."""
    from diffusers.models.embeddings import get_timestep_embedding

    return get_timestep_embedding(torch.tensor([number]), width, flip_sin_to_cos=True, downscale_freq_shift=0)[0]


def write_lora(path: Path) -> None:
    """Write a LoRA of random directions for tiny-sdxl's attention, kohya's names: pictures change and stay pictures."""
    unet = load_file(next((asset_folder("tiny-sdxl") / "unet").glob("*.safetensors")))
    generator, state = torch.Generator().manual_seed(0), {}
    for key, weight in unet.items():
        if not key.endswith(("attn1.to_q.weight", "attn1.to_v.weight", "attn2.to_q.weight", "attn2.to_v.weight")):
            continue
        name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
        rows, columns = weight.shape
        size = LORA_SIZE * weight.float().norm() / LORA_RANK**0.5
        up, down = (
            torch.randn(rows, LORA_RANK, generator=generator),
            torch.randn(LORA_RANK, columns, generator=generator),
        )
        state[f"{name}.lora_up.weight"] = up / up.norm(dim=0) * size
        state[f"{name}.lora_down.weight"] = down / down.norm(dim=1, keepdim=True)
        state[f"{name}.alpha"] = torch.tensor(float(LORA_RANK))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)

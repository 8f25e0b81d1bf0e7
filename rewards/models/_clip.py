"""CLIP in transformers' class, read from transformers' files or OpenCLIP's.

Radford et al. 2021 (arXiv 2103.00020). Legend: B images or texts, L tokens, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ...core.errors import ModelFileError
from ...loaders.formats.component import own_sizes, read_weights
from ...loaders.formats.limits import check_sizes
from ...loaders.formats.weights import fill, find_weights, read_json, read_safetensors
from ...loaders.layout.open_clip import from_open_clip
from ._text import CLIP_TOKENS, CLIP_VOCABULARY, TextReader
from .pixels import PixelNetwork

if TYPE_CHECKING:
    from transformers import CLIPModel

_END = CLIP_VOCABULARY - 1


def _tower(width: int, layers: int, heads: int, act: str) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width, "hidden_act": act}


def _sizes(vision: dict[str, Any], text: dict[str, Any], projection: int) -> dict[str, Any]:
    return {
        "vision_config": {**vision, "image_size": 224, "patch_size": 14},
        "text_config": text,
        "projection_dim": projection,
    }


# OpenAI's ViT-L/14, and LAION's ViT-H/14 that PickScore and HPS were tuned from.
CLIP_L = _sizes(_tower(1024, 24, 16, "quick_gelu"), _tower(768, 12, 12, "quick_gelu"), 768)
CLIP_H = _sizes(_tower(1280, 32, 16, "gelu"), _tower(1024, 24, 16, "gelu"), 1024)

_TOWER_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
_VISION_KEYS = (*_TOWER_KEYS, "image_size", "patch_size", "layer_norm_eps")
_TEXT_KEYS = (*_TOWER_KEYS, "layer_norm_eps")
_ACTIVATIONS = ("gelu", "quick_gelu")


def described_sizes(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the sizes in a CLIP model's `config.json`; nothing else of it is used. Raises ModelFileError."""
    towers = {}
    for name, keys in (("vision_config", _VISION_KEYS), ("text_config", _TEXT_KEYS)):
        part = config.get(name)
        if config.get("model_type") != "clip" or not isinstance(part, dict):
            raise ModelFileError(f"{where} does not describe a CLIP model.")
        towers[name] = {key: part[key] for key in keys if key in part}
        if towers[name].get("hidden_act", "quick_gelu") not in _ACTIVATIONS:
            raise ModelFileError(f"{where} names the activation {str(part['hidden_act'])[:40]!r}; CLIP has another.")
        _check_tower(towers[name], f"{where}: {name}")
    projection = config.get("projection_dim", 512)
    _check_tower({"projection_dim": projection}, where)
    return {**towers, "projection_dim": projection}


def _check_tower(sizes: Mapping[str, Any], where: str) -> None:
    kinds = {"hidden_act": str, "layer_norm_eps": float}
    for key, value in sizes.items():
        if type(value) is not kinds.get(key, int) or (isinstance(value, int) and value < 1):
            raise ModelFileError(f"{where}: {key} is {str(value)[:40]!r}, which is no size of a CLIP model.")
    check_sizes(sizes, where)


def load_clip(path: Path, sizes: Mapping[str, Any], dtype: torch.dtype, *, text: bool = True) -> CLIPModel:
    """Load a CLIP model from a folder or a file, strictly; without its text tower where `text` is false.

    A folder is transformers' (`config.json`, `model.safetensors`); a file is of transformers' or OpenCLIP's
    key names and of the `sizes` given, or of those in a `.json` of its own name. Raises ModelFileError.
    """
    from transformers import CLIPConfig, CLIPModel

    config = read_json(path / "config.json") if path.is_dir() else own_sizes(path)
    sizes = sizes if config is None else described_sizes(config, path.name)
    if path.is_dir():
        state: dict[str, torch.Tensor] = {}
        for file in find_weights(path, "model", prefer_half=dtype != torch.float32):
            state |= read_safetensors(file, dtype)
    else:
        state = read_weights(path, dtype, inside="state_dict")
    if "visual.conv1.weight" in state:
        state = from_open_clip(state)
    text_config = {**sizes["text_config"], "vocab_size": CLIP_VOCABULARY, "max_position_embeddings": CLIP_TOKENS}
    # the end's place is where the text's features are read; the others are never asked for
    text_config |= {"bos_token_id": _END - 1, "eos_token_id": _END, "pad_token_id": 1}
    with torch.device("meta"):
        try:
            network = CLIPModel(CLIPConfig(**{**sizes, "text_config": text_config}))
        except Exception as e:  # what checks a config, and raises what, differs from version to version
            raise ModelFileError(f"The config of {path.name} does not describe a CLIP model: {str(e)[:200]}.") from e
    if not text:
        network.text_model = network.text_projection = None
        state = {k: v for k, v in state.items() if not k.startswith("text_")}
    fill(network, state, where=path.name)
    return network.requires_grad_(False).eval()


# --- features ---------------------------------------------------------------------------------


def image_features(network: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Embed normalised pixels, at length 1. Shape: (B, 3, H, W) -> (B, D) float32."""
    seen = network.vision_model(pixel_values=pixels.to(network.visual_projection.weight.dtype))
    return F.normalize(network.visual_projection(seen.pooler_output).float(), dim=-1)


def text_features(network: CLIPModel, texts: TextReader, prompts: Sequence[str]) -> torch.Tensor:
    """Embed B texts at length 1, each different one read once: (B, D) float32."""
    different = list(dict.fromkeys(prompts))
    ids, _ = texts(different)
    read = network.text_model(input_ids=ids.to(network.text_projection.weight.device))
    features = F.normalize(network.text_projection(read.pooler_output).float(), dim=-1)
    return features[[different.index(prompt) for prompt in prompts]]


def cosine_network(network: CLIPModel, texts: TextReader, *, scaled: bool = False, **view: Any) -> PixelNetwork:
    """Return the cosine of image and text as a network; `scaled` times the model's own logit scale.

    `view` is what the network is shown, as `PixelNetwork` takes it.
    """

    def scores(pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        cosines = (image_features(network, pixels) * text_features(network, texts, prompts)).sum(-1)
        return cosines * network.logit_scale.float().exp() if scaled else cosines

    features = partial(image_features, network)
    return PixelNetwork(network, scores, image_size(network), features=features, texts=texts, **view)


def image_size(network: CLIPModel) -> int:
    """Return the pixels along one side of what a CLIP model sees."""
    return int(network.config.vision_config.image_size)

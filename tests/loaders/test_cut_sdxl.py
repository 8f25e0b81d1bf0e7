"""SSD-1B and Segmind Vega: SDXL with transformer layers taken out of the up blocks and attention out of the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import single_file_utils as reference

from scripts.full_size.official import BASE_UNET
from tastemaker.loaders import load_diffusion_model
from tastemaker.loaders.layout.configs import unet_config
from tastemaker.loaders.layout.original import unet_sources
from tastemaker.loaders.single_file.identify import identify_shapes
from tastemaker.sampling import sample
from tests.loaders import original_files

# depths as ComfyUI knows them (comfy/model_detection.py, SSD_1B and Segmind_Vega), and the makers' parameter counts
CUT: dict[str, tuple[dict[str, Any], float]] = {
    "SSD-1B": (
        {
            "transformer_layers_per_block": [1, 2, 4],
            "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
        },
        1.331e9,
    ),
    "Vega": ({"transformer_layers_per_block": [1, 1, 2]}, 0.745e9),
}


@pytest.mark.parametrize("name", CUT)
def test_depths_come_from_the_shapes(name: str) -> None:
    depths, parameters = CUT[name]
    with torch.device("meta"):
        theirs = UNet2DConditionModel(**BASE_UNET | depths | {"mid_block_type": "UNetMidBlock2D"}).state_dict()
    assert sum(t.numel() for t in theirs.values()) == pytest.approx(parameters, rel=1e-3)
    sources = unet_sources(theirs)
    shapes = {sources[key].name: tuple(tensor.shape) for key, tensor in theirs.items()}
    found = unet_config(shapes, pooled=1280, size_numbers=6)
    assert {key: found.get(key) for key in depths} == depths
    with torch.device("meta"):
        mine = UNet2DConditionModel(**found).state_dict()
    assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}


def test_a_cut_file_is_the_same_model_as_the_folder(tmp_path: Path) -> None:
    made = original_files.modules()
    config = original_files.UNET | {
        "transformer_layers_per_block": [1, 1, 2],
        "reverse_transformer_layers_per_block": [[2, 2, 3], [2, 1, 1], 1],
        "mid_block_type": "UNetMidBlock2D",
    }
    torch.manual_seed(5)
    made["unet"] = UNet2DConditionModel(**config).eval().requires_grad_(False)
    state = original_files.original_state(made)
    assert identify_shapes({k: tuple(v.shape) for k, v in state.items()}) == "SDXL"
    assert not any("middle_block.1." in name for name in state)
    # diffusers' own map of names agrees
    converted = reference.convert_ldm_unet_checkpoint(dict(state), dict(made["unet"].config))
    assert converted.keys() == made["unet"].state_dict().keys()
    file = load_diffusion_model(original_files.save(state, tmp_path / "ssd-1b.safetensors"))
    folder = load_diffusion_model(original_files.save_folder(made, tmp_path / "folder"))
    pictures = [
        sample(model, "a cat", scheduler="euler", steps=2, height=32, width=32, seeds=[1]).images
        for model in (file, folder)
    ]
    assert torch.equal(*pictures)

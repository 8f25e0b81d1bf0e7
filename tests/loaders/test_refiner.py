"""SDXL refiners: a file and a folder of one, told from a base by what they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tastemaker.loaders import ModelFileError, load_diffusion_model
from tests.loaders import original_files


@pytest.fixture(scope="module")
def made() -> dict[str, torch.nn.Module]:
    return original_files.modules(refiner=True)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    return original_files.save_folder(made, tmp_path_factory.mktemp("folder") / "refiner")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_refiner_file_is_the_same_model_as_its_folder(made, folder, tmp_path: Path) -> None:
    path = original_files.save(original_files.original_state(made), tmp_path / "refiner.safetensors")
    one, other = load_diffusion_model(path), load_diffusion_model(folder)
    for model in (one, other):
        assert model.architecture == "sdxl-refiner"
        assert model.text_encoders == ("text_encoder_2",)
        assert not model.zero_empty_prompt
        (tokenizer,) = model.tokenizers
        # padded as the second tokenizer of SDXL is: start, "red", end, then zeros
        assert tokenizer("red", padding="max_length").input_ids[:5] == [49406, 736, 49407, 0, 0]
    for name, module in other.modules.items():
        theirs, mine = module.state_dict(), one.modules[name].state_dict()
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
    draw = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 4, 16, 16, generator=draw), torch.randn(1, 77, 128, generator=draw)
    added = {"text_embeds": torch.randn(1, 128, generator=draw), "time_ids": torch.tensor([[64, 64, 0, 0, 6.0]])}
    with torch.no_grad():
        assert torch.equal(*(m.unet(x, 100, context, added_cond_kwargs=added).sample for m in (one, other)))


def test_the_middle_has_as_many_layers_as_the_others(made, tmp_path: Path) -> None:
    """The refiner's last level has no attention; the number of its layers is the middle's."""
    path = original_files.save(original_files.original_state(made), tmp_path / "refiner.safetensors")
    unet = load_diffusion_model(path).unet
    assert unet.config.transformer_layers_per_block == 2
    assert len(unet.mid_block.attentions[0].transformer_blocks) == 2
    assert unet.config.attention_head_dim == [1, 2, 3, 3]


def test_an_img2img_folder_with_both_encoders_is_a_base(tmp_path: Path) -> None:
    folder = original_files.save_folder(original_files.modules(), tmp_path / "base")
    edit(folder / "model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline", requires_aesthetics_score=False)
    model = load_diffusion_model(folder)
    assert (model.architecture, len(model.tokenizers)) == ("sdxl", 2)


def test_a_base_called_a_refiner_is_refused(tmp_path: Path) -> None:
    folder = original_files.save_folder(original_files.modules(), tmp_path / "base")
    edit(folder / "model_index.json", text_encoder=[None, None], tokenizer=[None, None])
    with pytest.raises(ModelFileError, match=r"reads 320 added numbers.*refiner, which reads 288"):
        load_diffusion_model(folder)


def test_a_folder_that_reads_more_channels_is_named(tmp_path: Path) -> None:
    made = original_files.modules()
    folder = original_files.save_folder(made, tmp_path / "inpainting")
    from diffusers import UNet2DConditionModel

    UNet2DConditionModel(**original_files.UNET | {"in_channels": 9}).save_pretrained(folder / "unet")
    with pytest.raises(ModelFileError, match="is an inpainting model: its UNet reads 9 channels"):
        load_diffusion_model(folder)


def test_half_precision_spares_the_vae_of_a_folder(folder, tmp_path: Path) -> None:
    model = load_diffusion_model(folder, dtype=torch.float16)
    assert (model.unet.dtype, model.vae.dtype) == (torch.float16, torch.float32)

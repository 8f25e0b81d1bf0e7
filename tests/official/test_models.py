"""Official diffusion models through the product's doors: full size by their headers, narrow with weights.

`expected` of a folder or file: architecture, native_size, zero_empty_prompt, latent_scale, prediction_type,
timestep_spacing, zero_snr, clip_sample, scheduler ("model default" by our name), timesteps_of_4 (what its own
scheduler visits in four steps), or refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from tastemaker.loaders import ModelFileError, load_diffusion_model
from tastemaker.loaders.architecture import ARCHITECTURES
from tastemaker.loaders.catalogue import known_model
from tastemaker.loaders.folder.rules import check_folder, component_config, scheduler_config, text_encoder_config
from tastemaker.loaders.formats.weights import find_weights
from tastemaker.loaders.single_file.identify import identify, read_model_header
from tastemaker.loaders.single_file.load import check_fit, checkpoint_parts
from tastemaker.sampling import SampleOptions, sample
from tastemaker.sampling.schedules import default_scheduler, make_schedule
from tests.official.make import is_ddpm, modules, narrow, write_file, write_folder, write_full_size
from tests.official.manifest import MODELS, Official

BY_NAME = {official.name: official for official in MODELS}
FOLDERS = [m for m in MODELS if m.kind == "folder" and "refused" not in m.expected]
REFUSED = [m for m in MODELS if "refused" in m.expected]
SINGLE = [m for m in MODELS if m.kind == "file"]
WITH_SIZES = [m for m in MODELS if any(m.weights.values())]
ALONE = SampleOptions(at_once=1)
PROMPT = "a red fox on a green hill"


def names(officials: list[Official]) -> Any:
    return pytest.mark.parametrize("official", officials, ids=lambda official: official.name)


def base_of(official: Official) -> Official:
    refiner = official.expected["architecture"] == "sdxl-refiner"
    return BY_NAME["stable-diffusion-xl-refiner-1.0" if refiner else "stable-diffusion-xl-base-1.0"]


def check_expected(model: Any, expected: dict[str, Any]) -> None:
    found = {
        "architecture": model.architecture,
        "native_size": model.native_size,
        "zero_empty_prompt": model.zero_empty_prompt,
        "latent_scale": model.latent_scale,
        "prediction_type": model.scheduler_config.get("prediction_type", "epsilon"),
        "timestep_spacing": model.scheduler_config.get("timestep_spacing", "leading"),
        "zero_snr": model.scheduler_config.get("rescale_betas_zero_snr", False),
        "clip_sample": model.scheduler_config.get("clip_sample", False),
        "scheduler": default_scheduler(model.scheduler_config),
        "timesteps_of_4": make_schedule(model.scheduler_config, "model default", 4).timesteps,
    }
    assert {key: found[key] for key in expected} == expected


def reference_timesteps(model: Any, steps: int) -> list[float]:
    """diffusers' own scheduler from the same config."""
    config = dict(model.scheduler_config)
    reference = getattr(diffusers, config["_class_name"]).from_config(config)
    reference.set_timesteps(steps)
    return reference.timesteps.tolist()


# --- at full size, by names and shapes --------------------------------------------------------


@names([m for m in FOLDERS if not is_ddpm(m) or m.expected["native_size"] != (32, 32)])
def test_a_full_size_folder_fits_its_own_configs(official: Official, tmp_path: Path) -> None:
    """The doors that read configs and headers; the modules they ask for are made on the meta device."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    folder = tmp_path / official.name
    written = write_full_size(official, folder)
    architecture, _ = check_folder(folder)
    assert architecture == official.expected["architecture"]
    assert scheduler_config(folder)["_class_name"] == official.files[_scheduler(official)]["_class_name"]
    classes = {"unet": diffusers.UNet2DModel if architecture == "ddpm" else diffusers.UNet2DConditionModel}
    classes |= {"vae": diffusers.AutoencoderKL}
    texts = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    for name, path in written.items():
        with torch.device("meta"):
            if name in texts:
                module = texts[name](CLIPTextConfig(**text_encoder_config(folder, name)))
            else:
                module = classes[name](**component_config(folder, name, classes[name]))
        if path.suffix == ".safetensors":
            stem = "model" if name in texts else "diffusion_pytorch_model"
            assert find_weights(folder / name, stem, prefer_half=True) == [path]
        needed = {k: tuple(v.shape) for k, v in module.state_dict().items() if not k.endswith("position_ids")}
        assert read_model_header(path).shapes == needed
        if architecture == "ddpm":  # the butterflies' file has 454,741,132 bytes, of the same layers
            assert abs(4 * sum(torch.Size(shape).numel() for shape in needed.values()) - 454_741_132) < 400_000


@names(WITH_SIZES)
def test_full_size_weights_are_as_large_as_the_published_files(official: Official, tmp_path: Path) -> None:
    """To within a header: a layer too many or too few would show."""
    written = write_full_size(official, tmp_path / official.name if official.kind == "folder" else tmp_path)
    for path in written.values():
        relative = path.relative_to(tmp_path).as_posix().removeprefix(f"{official.name}/")
        assert abs(path.stat().st_size - official.weights[relative]) < 400_000, relative


@names(SINGLE)
def test_a_full_size_file_is_whole_by_its_published_names(official: Official, tmp_path: Path) -> None:
    written = write_full_size(official, tmp_path)[""]
    refiner = official.expected["architecture"] == "sdxl-refiner"
    assert identify(written) == ("SDXL refiner" if refiner else "SDXL")
    shapes = read_model_header(written).shapes
    parts = checkpoint_parts(shapes, ARCHITECTURES["sdxl-refiner" if refiner else "sdxl"])
    check_fit(official.name, shapes, parts)
    with torch.device("meta"):
        theirs = modules(base_of(official).files)
    for name, part in parts.items():
        mine = {k: v.shape for k, v in part.module.state_dict().items()}
        assert mine == {k: v.shape for k, v in theirs[name].state_dict().items()}, name
    used = {source.name for part in parts.values() for source in part.sources.values()}
    assert used <= official.tensors.keys()
    assert len(official.tensors.keys() - used) <= 2  # what no part asks for: position_ids, logit_scale


# --- narrow, with weights ---------------------------------------------------------------------


@names(REFUSED)
def test_what_cannot_be_used_is_refused_for_its_own_reason(official: Official, tmp_path: Path) -> None:
    write_folder(official, tmp_path / official.name)
    with pytest.raises(ModelFileError, match=official.expected["refused"]):
        load_diffusion_model(tmp_path / official.name)


@names([m for m in FOLDERS if not is_ddpm(m) and m.expected["architecture"] == "sdxl"])
def test_an_sdxl_folder_is_what_diffusers_makes_of_it(official: Official, tmp_path: Path) -> None:
    folder = tmp_path / official.name
    made = write_folder(official, folder)
    model = load_diffusion_model(folder)
    check_expected(model, dict(official.expected))
    assert list(make_schedule(model.scheduler_config, "model default", 7).timesteps) == reference_timesteps(model, 7)
    for name, module in made.items():
        mine = model.modules[name].state_dict()
        assert all(torch.equal(mine[k], v) for k, v in module.state_dict().items())
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(
        folder, variant="fp16", torch_dtype=torch.float32, local_files_only=True, add_watermarker=False
    )
    assert_same_picture(model, pipeline)


def assert_same_picture(model: Any, pipeline: Any, steps: int = 2) -> None:
    pipeline.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": steps, "guidance_scale": 5.0, "height": 64, "width": 64, "output_type": "pt"}
    want = pipeline(PROMPT, generator=torch.Generator().manual_seed(3), **call).images.permute(0, 2, 3, 1)
    size = {"height": 64, "width": 64, "guidance_scale": 5.0, "steps": steps}
    got = sample(model, PROMPT, scheduler="model default", seeds=[3], options=ALONE, **size).images
    assert want.std() > 1e-3
    assert (got - want).abs().max() <= 1e-5


def test_the_refiner_folder_is_what_diffusers_makes_of_it(tmp_path: Path) -> None:
    official = BY_NAME["stable-diffusion-xl-refiner-1.0"]
    write_folder(official, tmp_path / official.name)
    model = load_diffusion_model(tmp_path / official.name)
    check_expected(model, dict(official.expected))
    pipeline = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(
        tmp_path / official.name, variant="fp16", torch_dtype=torch.float32, local_files_only=True
    )
    pipeline.watermark = None
    pipeline.set_progress_bar_config(disable=True)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    call = {"strength": 0.5, "num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "pt"}
    want = pipeline(PROMPT, image=start, generator=torch.Generator().manual_seed(3), **call).images.permute(0, 2, 3, 1)
    got = sample(
        model,
        PROMPT,
        **{"scheduler": "model default", "steps": 2, "denoise": 0.5, "latents": start, "seeds": [3]},
        **{"guidance_scale": 5.0, "options": ALONE},
    ).images
    assert (got - want).abs().max() <= 1e-5


@names(SINGLE)
def test_a_single_file_is_what_diffusers_makes_of_it(official: Official, tmp_path: Path) -> None:
    """diffusers reads weights from the file, configs from the official folder, and is given our scheduler."""
    base = base_of(official)
    made = write_file(official, tmp_path, base)
    model = load_diffusion_model(tmp_path / official.name)
    check_expected(model, dict(official.expected))
    for name, module in made.items():
        mine = model.modules[name].state_dict()
        assert all(torch.equal(mine[k], v.half().float()) for k, v in module.state_dict().items())
    sample(model, PROMPT, scheduler="ddim", steps=1, seeds=[1], height=64, width=64)
    if base.expected["architecture"] == "sdxl-refiner" or f"{G}.weight" in official.tensors:
        return  # diffusers has no door for a lone refiner's text, and reads Playground's projection turned (its #6183)
    write_folder(base, tmp_path / "configs")
    pipeline = diffusers.StableDiffusionXLPipeline.from_single_file(
        str(tmp_path / official.name),
        **{"config": str(tmp_path / "configs"), "local_files_only": True, "torch_dtype": torch.float32},
        add_watermarker=False,
    )
    config = dict(model.scheduler_config)
    pipeline.scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    assert_same_picture(model, pipeline)


G = "conditioner.embedders.1.model.text_projection"


@names([m for m in FOLDERS if is_ddpm(m)])
def test_a_ddpm_folder_is_what_diffusers_makes_of_it(official: Official, tmp_path: Path) -> None:
    folder = tmp_path / official.name
    write_folder(official, folder)
    model = load_diffusion_model(folder)
    check_expected(model, dict(official.expected))
    assert list(make_schedule(model.scheduler_config, "model default", 7).timesteps) == reference_timesteps(model, 7)
    safe = next(iter(official.weights)).endswith(".safetensors")
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder, use_safetensors=safe, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 2, "output_type": "np"}
    want = torch.from_numpy(pipeline(generator=torch.Generator().manual_seed(3), **call).images)
    got = sample(model, scheduler="model default", steps=2, seeds=[3], options=ALONE).images
    assert want.std() > 1e-3
    assert (got - want).abs().max() <= 1e-5


# --- the catalogue ----------------------------------------------------------------------------


@names([m for m in MODELS if "refused" not in m.expected and known_model(m.name) is not None])
def test_the_catalogue_says_the_same(official: Official) -> None:
    known = known_model(official.name)
    assert known is not None
    assert known.repository == official.repository
    assert known.architecture == official.expected["architecture"]
    if not is_ddpm(official):  # the small DDPMs are made of another size
        assert (known.native_size, known.native_size) == official.expected["native_size"]
    if official.files:
        assert known.scheduler == official.files[_scheduler(official)]["_class_name"]
    sizes = sum(official.weights.values())
    if sizes:
        assert known.gigabytes == pytest.approx(sizes / 1e9, abs=0.06)


def _scheduler(official: Official) -> str:
    own = "scheduler/scheduler_config.json"
    return own if own in official.files else "scheduler_config.json"


def test_narrow_configs_differ_in_widths_only() -> None:
    for official in FOLDERS:
        small = narrow(official)
        for place, content in official.files.items():
            assert small[place].keys() == content.keys(), (official.name, place)

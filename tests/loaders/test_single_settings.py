"""What a single file says of its sampling: marks, notes and names, and the choice that overrides them."""

from __future__ import annotations

import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from tastemaker.loaders import InputError, ModelFileError, asset_folder, load_diffusion_model
from tastemaker.loaders.single_file.identify import identify_shapes, read_model_header
from tastemaker.loaders.single_file.load import scheduler_config
from tastemaker.loaders.single_file.settings import is_distilled, trained_size
from tastemaker.sampling import SampleOptions, SampleSettings, sample
from tastemaker.sampling.inputs import picture_size
from tastemaker.sampling.schedules import make_schedule
from tastemaker.training.presets import preset_values
from tests.loaders import original_files
from tests.loaders.original_files import State

PLAIN: dict[str, tuple[int, ...]] = {"model.diffusion_model.out.2.bias": (4,)}


@pytest.fixture(scope="module")
def state() -> State:
    return original_files.original_state(original_files.modules())


def save(state: State, path: Path, notes: dict[str, str] | None = None) -> Path:
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path, metadata=notes)
    return path


# --- few-step models: trailing spacing --------------------------------------------------------

DISTILLED = (
    *("sd_xl_turbo_1.0_fp16", "sdxl_lightning_4step", "sdxl_lightning_8step", "DreamShaperXL_Turbo_v2"),
    *("dreamshaperXL_v21TurboDPMSDE", "realvisxlV40_v40LightningBakedvae", "juggernautXL_v9Rdphoto2Lightning"),
    *("Hyper-SDXL-8steps", "HyperSDXL-merge", "hypersd_xl", "someModel_dmd2", "bigLove_xlDMD2", "model-DMD2-4step"),
    *("RealVisXL_V4_LCM", "lcm-sdxl-merge", "turbovisionxlSuperFastXLBasedOnNew_tvxlV431Bakedvae", "models\\a LCM8"),
)
PLAIN_NAMES = (
    *("sd_xl_base_1.0", "playground-v2.fp16", "hyperrealism_xl", "HyperReal_v3", "juggernautXL_v9Rundiffusion"),
    *("NoobAI-XL-Vpred-v1.0", "ponyDiffusionV6XL", "calcmodel", "madmdXL", "lcmagic"),
)


@pytest.mark.parametrize("name", DISTILLED)
def test_names_of_few_step_models_are_known(name: str) -> None:
    config = scheduler_config(f"{name}.safetensors", PLAIN, {})
    assert config["timestep_spacing"] == "trailing"
    # the timesteps that SDXL-Lightning's and sdxl-turbo's makers give for four steps
    assert make_schedule(config, "euler", 4).timesteps == (999, 749, 499, 249)
    assert make_schedule(config, "ddim", 1).timesteps == (999,)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_other_names_are_not(name: str) -> None:
    config = scheduler_config(f"{name}.safetensors", PLAIN, {})
    assert (config["timestep_spacing"], config["prediction_type"]) == ("leading", "epsilon")
    assert make_schedule(config, "euler", 4).timesteps == (751, 501, 251, 1)


def test_a_title_in_the_notes_counts_as_the_name() -> None:
    assert is_distilled("my-merge.safetensors", {"modelspec.title": "SDXL Turbo by me"})
    assert not is_distilled("my-merge.safetensors", {"modelspec.title": "Checkpoint@1700000000"})


def test_turbo_is_as_its_official_folder_has_it(state, tmp_path: Path) -> None:
    """stabilityai/sdxl-turbo: EulerAncestralDiscreteScheduler, trailing, 512 pixels."""
    model = load_diffusion_model(save(state, tmp_path / "sd_xl_turbo_1.0_fp16.safetensors"))
    config = model.scheduler_config
    assert (config["_class_name"], config["timestep_spacing"]) == ("EulerAncestralDiscreteScheduler", "trailing")
    assert model.native_size == (512, 512)
    theirs = diffusers.EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing", steps_offset=1
    )
    theirs.set_timesteps(1)
    assert make_schedule(config, "model default", 1).timesteps == tuple(theirs.timesteps.tolist()) == (999,)


def test_lightning_of_one_step_predicts_the_clean_sample(state, tmp_path: Path) -> None:
    model = load_diffusion_model(save(state, tmp_path / "sdxl_lightning_1step_x0.safetensors"))
    assert (model.scheduler_config["prediction_type"], model.scheduler_config["timestep_spacing"]) == (
        "sample",
        "trailing",
    )
    made = sample(model, "a cat", scheduler="euler", steps=1, guidance_scale=1.0, height=32, width=32, seeds=[3])
    # at one step the latents are what the network says the picture is, whatever the noise is divided by
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert made.latents.shape == x.shape
    wrong = sample(
        load_diffusion_model(tmp_path / "sdxl_lightning_1step_x0.safetensors", prediction_type="epsilon"),
        *("a cat",),
        **{"scheduler": "euler", "steps": 1, "guidance_scale": 1.0, "height": 32, "width": 32, "seeds": [3]},
    )
    assert (made.latents - wrong.latents).abs().max() > 1
    with pytest.raises(InputError, match="predicts the clean sample"):
        sample(model, "a cat", scheduler="euler_ancestral", steps=1, height=32, width=32)
    for name in ("SDXL-Lightning-1-step.safetensors", "sdxl_lightning_1step_x0.safetensors"):
        assert scheduler_config(name, PLAIN, {})["prediction_type"] == "sample"
    for name in ("sdxl_lightning_2step.safetensors", "sdxl_1step.safetensors", "lightning_11step.safetensors"):
        assert scheduler_config(name, PLAIN, {})["prediction_type"] == "epsilon"


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmpp_2m"])
def test_the_spacing_of_the_options_is_the_models_with_that_spacing(tiny_sdxl, scheduler: str) -> None:
    from dataclasses import replace

    call = {"scheduler": scheduler, "steps": 3, "seeds": [5]}
    made = {
        spacing: sample(tiny_sdxl, "a red heart", options=SampleOptions(timestep_spacing=spacing), **call).latents
        for spacing in ("model", "leading", "linspace", "trailing")
    }
    for spacing in ("leading", "linspace", "trailing"):
        config = {**tiny_sdxl.scheduler_config, "timestep_spacing": spacing}
        other = replace(tiny_sdxl, scheduler_config=config)
        assert torch.equal(made[spacing], sample(other, "a red heart", **call).latents)
    assert torch.equal(made["model"], sample(tiny_sdxl, "a red heart", **call).latents)
    assert not torch.equal(made["leading"], made["trailing"])
    with pytest.raises(InputError, match="timestep_spacing: Pick one of model, leading"):
        SampleOptions(timestep_spacing="sideways")


# --- what the network predicts ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "notes", "prediction", "zero_snr"),
    [
        ((), {}, "epsilon", False),
        (("v_pred",), {}, "v_prediction", False),
        (("v_pred", "ztsnr"), {}, "v_prediction", True),
        ((), {"modelspec.prediction_type": "v"}, "v_prediction", False),
        ((), {"modelspec.prediction_type": "epsilon"}, "epsilon", False),
        ((), {"modelspec.predict_key": "v"}, "v_prediction", False),
        ((), {"modelspec.predict_key": "epsilon"}, "epsilon", False),
        ((), {"modelspec.prediction_type": " V_Prediction "}, "v_prediction", False),
        ((), {"ss_v_parameterization": "True"}, "v_prediction", False),
        ((), {"ss_v_parameterization": "False"}, "epsilon", False),
        ((), {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, "v_prediction", True),
        ((), {"modelspec.prediction_type": "v", "ss_zero_terminal_snr": "True"}, "v_prediction", True),
        ((), {"ss_zero_terminal_snr": "True"}, "epsilon", False),
        (("v_pred",), {"modelspec.prediction_type": "epsilon"}, "v_prediction", False),
        (("ztsnr",), {"modelspec.predict_key": "v"}, "v_prediction", True),
        ((), {"modelspec.prediction_type": "nonsense", "modelspec.predict_key": "v"}, "v_prediction", False),
    ],
)
def test_notes_say_what_is_predicted(marks: tuple, notes: dict[str, str], prediction: str, zero_snr: bool) -> None:
    config = scheduler_config("m.safetensors", PLAIN | dict.fromkeys(marks, (0,)), notes)
    assert config["prediction_type"] == prediction
    assert config.get("rescale_betas_zero_snr", False) is zero_snr
    assert config["timestep_spacing"] == ("trailing" if zero_snr else "leading")


def test_notes_are_read_from_the_file(state, tmp_path: Path, caplog) -> None:
    """As kohya's sd-scripts save a checkpoint: modelspec keys, no tensor named v_pred."""
    notes = {"modelspec.architecture": "stable-diffusion-xl-v1-base", "modelspec.prediction_type": "v"}
    path = save(state, tmp_path / "kohya.safetensors", notes)
    assert read_model_header(path).notes == notes
    assert load_diffusion_model(path).scheduler_config["prediction_type"] == "v_prediction"
    odd = save(state, tmp_path / "odd.safetensors", {"modelspec.prediction_type": "rf"})
    assert load_diffusion_model(odd).scheduler_config["prediction_type"] == "epsilon"
    assert "header says modelspec.prediction_type 'rf', which is not known here" in caplog.text


def test_a_choice_overrides_the_file(state, tmp_path: Path) -> None:
    path = save(state, tmp_path / "m.safetensors")
    loaded = {c: load_diffusion_model(path, prediction_type=c) for c in ("auto", "v_prediction", "sample")}
    assert [m.scheduler_config["prediction_type"] for m in loaded.values()] == ["epsilon", "v_prediction", "sample"]
    assert len({m.fingerprint for m in loaded.values()}) == 3
    zero = load_diffusion_model(path, prediction_type="v_prediction_zero_snr").scheduler_config
    marked = save(state | {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, tmp_path / "z.safetensors")
    assert zero == load_diffusion_model(marked).scheduler_config
    with pytest.raises(InputError, match="prediction_type: Pick one of auto, epsilon"):
        load_diffusion_model(path, prediction_type="edm")


def test_zero_snr_without_v_prediction_is_refused_until_it_is_chosen(state, tmp_path: Path) -> None:
    path = save(state | {"ztsnr": torch.tensor([])}, tmp_path / "z.safetensors")
    with pytest.raises(ModelFileError, match="Pick v_prediction as its prediction_type"):
        load_diffusion_model(path)
    config = load_diffusion_model(path, prediction_type="v_prediction").scheduler_config
    assert make_schedule(config, "ddim", 4).coefficients[0].a_t == 0


def test_a_choice_overrides_a_folder(tmp_path: Path, tiny_sdxl) -> None:
    folder = Path(shutil.copytree(asset_folder("tiny-sdxl"), tmp_path / "m"))
    model = load_diffusion_model(folder, prediction_type="v_prediction")
    assert model.scheduler_config == {**tiny_sdxl.scheduler_config, "prediction_type": "v_prediction"}
    assert model.fingerprint != tiny_sdxl.fingerprint == load_diffusion_model(folder).fingerprint


# --- native size ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("playground-v2-512px-base", 512), ("playground-v2-256px-base", 256)])
def test_a_folder_of_a_known_name_has_the_size_of_the_catalogue(tmp_path: Path, name: str, size: int) -> None:
    """Its unet/config.json may still say 128, the 1024-pixel model's."""
    model = load_diffusion_model(original_files.save_folder(original_files.modules(), tmp_path / name))
    assert (tmp_path / name / "unet" / "config.json").read_text().count('"sample_size": 128') == 1
    assert model.native_size == (size, size)
    assert picture_size(model, SampleSettings(), None, None) == (size, size)
    # what training takes from it: a preset never asks for more
    assert preset_values("24 GB", {}, model)["height"] == min(size, 768)
    other = load_diffusion_model(tmp_path / name / ".." / name)
    assert other.fingerprint == model.fingerprint
    shutil.move(tmp_path / name, tmp_path / "my-own")
    mine = load_diffusion_model(tmp_path / "my-own")
    assert mine.native_size == (512, 512)  # 128 latents of the small VAE's 4 pixels
    assert (mine.fingerprint == model.fingerprint) == (size == 512)


def test_a_resolution_in_the_notes(state, tmp_path: Path) -> None:
    assert trained_size({"modelspec.resolution": "832x1216"}) == (1216, 832)
    for odd in ("1024", "1024x1024x3", "-1x5", "99999x1", "", "a x b"):
        assert trained_size({"modelspec.resolution": odd}) is None
    path = save(state, tmp_path / "m.safetensors", {"modelspec.resolution": "384x256"})
    assert load_diffusion_model(path).native_size == (256, 384)
    path = save(state, tmp_path / "odd.safetensors", {"modelspec.resolution": "777x777"})
    assert load_diffusion_model(path).native_size == (512, 512)


# --- parts alone ------------------------------------------------------------------------------


def test_a_bare_unet_is_called_one(tmp_path: Path) -> None:
    made = original_files.modules()
    prefix = "model.diffusion_model."
    original = {k: tuple(v.shape) for k, v in original_files.original_state(made).items() if k.startswith(prefix)}
    bare = {k.removeprefix(prefix): shape for k, shape in original.items()}
    plain = {k: tuple(v.shape) for k, v in made["unet"].state_dict().items()}
    assert identify_shapes(original) == identify_shapes(bare) == "an SDXL UNet without the rest"
    assert identify_shapes(plain) == "a diffusers UNet without the rest"
    path = tmp_path / "sdxl_lightning_4step_unet.safetensors"
    save_file({k: torch.zeros(shape) for k, shape in bare.items()}, path)
    with pytest.raises(ModelFileError, match="is an SDXL UNet without the rest, not a model .*Use the whole model"):
        load_diffusion_model(path)

"""Which schedulers a folder may name: every one of diffusers' whose noise levels are betas."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch

from tastemaker.loaders import ModelFileError, asset_folder, load_diffusion_model
from tastemaker.loaders.folder.schedulers import BETA_SCHEDULERS
from tastemaker.sampling import sample
from tastemaker.sampling.schedules import default_scheduler, describe, make_schedule

# They take betas and do something else with them, or with pictures: video with shifted levels, inversion, filling in.
OTHERS = {
    *("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler", "DDIMInverseScheduler"),
    *("DPMSolverMultistepInverseScheduler", "RePaintScheduler"),
}
SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def classes() -> dict[str, type]:
    found = {name: getattr(diffusers.schedulers, name, None) for name in dir(diffusers.schedulers)}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls) and name.endswith("Scheduler")}


def test_the_list_is_what_the_installed_diffusers_has_of_this_kind() -> None:
    takes_betas = {
        name for name, cls in classes().items() if "beta_start" in inspect.signature(cls.__init__).parameters
    }
    assert takes_betas - OTHERS == set(BETA_SCHEDULERS) & set(classes())
    assert len(BETA_SCHEDULERS) == len(set(BETA_SCHEDULERS))


@pytest.mark.parametrize("name", BETA_SCHEDULERS)
def test_their_levels_are_those_of_the_betas(name: str) -> None:
    """Held against numpy-free arithmetic of our own: the product of 1 - beta, betas from the squares of roots."""
    levels = classes()[name](**SDXL).alphas_cumprod
    roots = [0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * i / 999 for i in range(1000)]
    expected, product = [], 1.0
    for root in roots:
        product *= 1 - root**2
        expected.append(product)
    torch.testing.assert_close(levels.double(), torch.tensor(expected, dtype=torch.double), rtol=1e-4, atol=0)


def with_scheduler(folder: Path, name: str) -> Path:
    """A copy of tiny-sdxl whose scheduler is as diffusers itself saves that class."""
    shutil.copytree(asset_folder("tiny-sdxl"), folder)
    shutil.rmtree(folder / "scheduler")
    classes()[name](**SDXL).save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", name]}))
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BETA_SCHEDULERS)
def test_a_folder_that_diffusers_saved_with_it_loads_and_samples(tmp_path: Path, name: str) -> None:
    """DPM solvers write `"lambda_min_clipped": -Infinity`, which is no JSON but their own default."""
    model = load_diffusion_model(with_scheduler(tmp_path / "own", name))
    assert model.scheduler_config["_class_name"] == name
    assert describe(model.scheduler_config).startswith(name)
    made = sample(model, "a red heart", scheduler="ddim", steps=2, seeds=[1])
    spacing = {"timestep_spacing": "linspace"}  # what DPMSolverSinglestep always does
    reference = diffusers.DDIMScheduler.from_config({**spacing, **model.scheduler_config})
    reference.set_timesteps(2)
    assert make_schedule(model.scheduler_config, "ddim", 2).timesteps == tuple(reference.timesteps.tolist())
    assert torch.isfinite(made.images).all()


def test_infinity_anywhere_else_in_a_scheduler_config_is_refused(tmp_path: Path) -> None:
    folder = with_scheduler(tmp_path / "own", "DPMSolverMultistepScheduler")
    path = folder / "scheduler" / "scheduler_config.json"
    saved = path.read_text()
    assert "-Infinity" in saved
    for bad in ("Infinity", "NaN"):
        path.write_text(saved.replace("-Infinity", bad))
        with pytest.raises(ModelFileError, match="lambda_min_clipped is inf|NaN is no number"):
            load_diffusion_model(folder)
    path.write_text(saved.replace('"beta_start": 0.00085', '"beta_start": -Infinity'))
    with pytest.raises(ModelFileError, match="beta_start is -inf"):
        load_diffusion_model(folder)


def test_dreamshapers_folder_loads(tmp_path: Path) -> None:
    """The scheduler of Lykon/dreamshaper-xl-1-0 (openrail++), its values: DEIS, of which another must be picked."""
    folder = with_scheduler(tmp_path / "dreamshaper-xl-1-0", "DEISMultistepScheduler")
    config = {
        **{"_class_name": "DEISMultistepScheduler", "_diffusers_version": "0.21.0.dev0", "algorithm_type": "deis"},
        **{"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False},
        **{"dynamic_thresholding_ratio": 0.995, "interpolation_type": "linear", "lower_order_final": True},
        **{"num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0},
        **{"set_alpha_to_one": False, "skip_prk_steps": True, "solver_order": 2, "solver_type": "logrho"},
        **{"steps_offset": 1, "thresholding": False, "timestep_spacing": "leading", "trained_betas": None},
        "use_karras_sigmas": False,
    }
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    model = load_diffusion_model(folder)
    with pytest.raises(
        Exception, match="own is DEISMultistepScheduler, which is not among the schedulers here: pick one"
    ):
        default_scheduler(model.scheduler_config)
    assert make_schedule(model.scheduler_config, "euler", 4).timesteps == (751, 501, 251, 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("EDMDPMSolverMultistepScheduler", r"Playground v2\.5\) are not supported\. Pick Playground v2"),
        ("EDMEulerScheduler", "EDM's scaling"),
        ("FlowMatchEulerDiscreteScheduler", "flow-matching"),
        ("LTXEulerAncestralRFScheduler", "flow-matching"),
        ("RePaintScheduler", "'RePaintScheduler', whose noise schedule is not known here"),
    ],
)
@pytest.mark.parametrize("where", ["index", "scheduler", "both"])
def test_the_reason_of_the_scheduler_comes_first(tmp_path: Path, name: str, said: str, where: str) -> None:
    """Whichever of the two files names it, and though its weights would be read otherwise."""
    folder = tmp_path / "other"
    shutil.copytree(asset_folder("tiny-sdxl"), folder)
    if where != "scheduler":
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", name]}))
    if where != "index":
        path = folder / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": name}))
    with pytest.raises(ModelFileError, match=f"other: .*{said}"):
        load_diffusion_model(folder)


def test_a_class_that_an_older_diffusers_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**SDXL, "_class_name": "TCDScheduler"}
    assert make_schedule(config, "ddim", 4)
    monkeypatch.delattr(diffusers, "TCDScheduler", raising=False)
    monkeypatch.setattr(type(diffusers), "__getattr__", _lacks(type(diffusers).__getattr__), raising=True)
    with pytest.raises(ModelFileError, match=r"TCDScheduler, which diffusers .* does not have\. Install a newer"):
        make_schedule(config, "ddim", 4)


def _lacks(original):
    def look(module, name: str):
        if name == "TCDScheduler":
            raise AttributeError(name)
        return original(module, name)

    return look

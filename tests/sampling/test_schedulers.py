"""The table of schedulers: every entry is complete, and what it says is so."""

from __future__ import annotations

import importlib
import inspect

import diffusers
import pytest
import torch

from tastemaker.loaders.folder.schedulers import BETA_SCHEDULERS
from tastemaker.sampling import SampleSettings, schedules
from tastemaker.sampling.scheduler_config import build, model_config
from tastemaker.sampling.schedulers import MODEL_DEFAULT, NAMES, SCHEDULERS, names_where, tooltip
from tastemaker.sampling.schedules import make_schedule
from tests.sampling.test_schedules import SDXL

EVERY = pytest.mark.parametrize("name", SCHEDULERS)


@EVERY
def test_an_entry_is_complete(name: str) -> None:
    entry = SCHEDULERS[name]
    cls = getattr(diffusers, entry.diffusers)
    assert entry.diffusers in BETA_SCHEDULERS  # what loaders let through
    assert set(entry.options) <= set(inspect.signature(cls.__init__).parameters)
    assert isinstance(getattr(schedules, entry.schedule), type)
    assert entry.space in ("variance preserving", "sigma")
    assert entry.predicts_sample in ("as it is", "as epsilon", "no")
    assert entry.starts_late in ("yes", "no Runge-Kutta")
    assert entry.words
    assert name in tooltip()
    if entry.needs:
        assert importlib.util.find_spec(entry.needs)  # a package of that name exists


@EVERY
def test_the_space_is_the_one_diffusers_adds_noise_in(name: str) -> None:
    """At the third of ten timesteps diffusers' `add_noise` makes x0 + sigma e, or sqrt(a) x0 + sqrt(1-a) e."""
    reference = build(model_config(SDXL), name)
    reference.set_timesteps(10)
    one, nothing = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    signal = float(reference.add_noise(one, nothing, reference.timesteps[2:3]))
    assert (signal == 1.0) == (SCHEDULERS[name].space == "sigma")


@EVERY
def test_a_scheduler_trains_where_its_steps_have_distributions(name: str) -> None:
    assert hasattr(make_schedule(SDXL, name, 4), "distribution") == SCHEDULERS[name].trains


@EVERY
def test_a_mask_is_kept_where_every_evaluation_is_a_step(name: str) -> None:
    """DPM++ SDE's second evaluation of a step looks at a sample in between, which has a timestep of its own."""
    reference = build(model_config(SDXL), name)
    assert SCHEDULERS[name].inpaints == (reference.order == 1)


def test_names_and_words_for_widgets() -> None:
    assert (MODEL_DEFAULT, *SCHEDULERS) == NAMES
    assert names_where("trains") == ("ddim", "ddpm", "euler_ancestral")
    assert names_where("has_eta") == ("ddim",)
    assert "ddim: few steps, the usual choice. ddpm: the original" in tooltip()
    field = SampleSettings.__dataclass_fields__["scheduler"]
    assert field.metadata["options"] == NAMES
    assert tooltip() in field.metadata["tip"]

"""Fine-tuning the whole network: on a copy of its own, in float32, whatever the base runs in."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from tastemaker.core.errors import OutOfMemoryError
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.training import finetune
from tastemaker.training.learner import learner, memory
from tastemaker.training.learner.learner import Learner
from tastemaker.training.worker import Worker

from .conftest import brightness, quick, redness, same, state, trained, weights


def test_a_full_fine_tune_owns_its_copy(small_ddpm: DiffusionModel) -> None:
    before = weights(small_ddpm)
    run = trained(small_ddpm, train="full", learning_rate=1e-3, kl_weight=0.01)
    assert same(before, weights(small_ddpm))
    tuned = run.model
    assert tuned.unet is not small_ddpm.unet
    assert not same(dict(small_ddpm.unet.state_dict()), dict(tuned.unet.state_dict()))
    assert run.reports[-1].kl > 0
    with pytest.raises(InputError, match="has no LoRA"):
        run.lora_state()
    with pytest.raises(InputError, match="train: .* has LoRAs on it"):
        finetune(trained(small_ddpm).model, brightness, "", quick(train="full"))


def test_a_half_precision_model_learns_in_float32(small_sdxl: DiffusionModel) -> None:
    """Text encoders, VAE and the base that KL compares with stay in bfloat16."""
    parts = {name: copy.deepcopy(module).to(torch.bfloat16) for name, module in small_sdxl.modules.items()}
    half = replace(small_sdxl, modules=parts, fingerprint="h" * 16)
    run = trained(half, train="full", learning_rate=1e-4, kl_weight=0.01, epochs=1)
    assert run.learner.policy.dtype == torch.float32
    assert half.dtype == run.model.dtype == torch.bfloat16
    assert run.reports[0].first_ratio_error <= 1e-6
    assert run.reports[0].grad_norm > 0


def test_it_works_on_weights_of_inference_mode(small_ddpm: DiffusionModel) -> None:
    with torch.inference_mode():
        unet = copy.deepcopy(small_ddpm.unet)
        assert next(unet.parameters()).is_inference()
        inside = trained(replace(small_ddpm, modules={"unet": unet}), train="full", learning_rate=1e-3, epochs=1)
    outside = trained(small_ddpm, train="full", learning_rate=1e-3, epochs=1)
    assert same(state(inside), state(outside))


def test_it_computes_where_the_policy_is(small_ddpm: DiffusionModel) -> None:
    worker = Worker(small_ddpm, quick(train="full"))
    worker.learner.policy = replace(small_ddpm, modules={"unet": copy.deepcopy(small_ddpm.unet).to("meta")})
    assert worker.device.type == "meta"


def test_the_base_is_placed_beside_the_policy_where_kl_needs_it(small_ddpm: DiffusionModel) -> None:
    placed: list[list[torch.nn.Module]] = []

    @contextmanager
    def place(modules: Iterable[torch.nn.Module], working_bytes: int = 0):
        placed.append(list(modules))
        yield

    for kl_weight, expected in ((0.01, 2), (0.0, 1)):
        run = finetune(small_ddpm, brightness, "", quick(train="full", kl_weight=kl_weight), place=place)
        next(run)
        policy = run.learner.policy.unet
        assert placed[-1] == [policy, small_ddpm.unet][:expected]
        run.close()


def test_the_fingerprint_is_of_the_weights(small_ddpm: DiffusionModel) -> None:
    """The same settings on another reward are another model; the same run again is the same one."""
    one, again, other = (
        trained(small_ddpm, reward, train="full", learning_rate=1e-3, epochs=1).model.fingerprint
        for reward in (brightness, brightness, redness)
    )
    assert one == again
    assert other != one != small_ddpm.fingerprint


def test_what_a_host_keeps_on_the_network_stays_there(small_ddpm: DiffusionModel) -> None:
    unet = copy.deepcopy(small_ddpm.unet)
    unet.__dict__["_handle"] = object()
    made = Learner(replace(small_ddpm, modules={"unet": unet}), quick(train="full"))
    assert "_handle" not in made.policy.unet.__dict__
    assert "_handle" not in made.tuned("x").unet.__dict__


def test_too_little_memory_is_said_before_anything_is_copied(
    small_ddpm: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(base: DiffusionModel) -> DiffusionModel:
        raise AssertionError("copied")

    monkeypatch.setattr(learner, "own_copy", never)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**18)
    with pytest.raises(OutOfMemoryError, match="Learning would take .* or train a lora"):
        finetune(small_ddpm, brightness, "", quick(train="full", samples_per_epoch=4))


def test_the_copy_counts(small_ddpm: DiffusionModel) -> None:
    numbers = sum(p.numel() for p in small_ddpm.unet.parameters())
    assert memory.copy_bytes(small_ddpm, quick(train="full")) == 4 * numbers
    assert memory.copy_bytes(small_ddpm, quick()) == 0
